//! Two nodes find each other, or learn why not.

use polykey_net::Path;

use crate::pair::{echo, end, joined, two};

#[tokio::test]
async fn two_nodes_speak_both_ways() {
    let (one, two) = two().await;
    let (here, there) = joined(&one, &two).await;
    assert_eq!((here.node(), there.node()), (two.node(), one.node()));
    echo(&here, &there, b"from the dialer").await;
    echo(&there, &here, b"from the other side").await;

    let info = here.info();
    assert!(info.dialled_by_us && info.post_quantum, "{info:?}");
    assert_eq!(info.path, Path::Direct(two.address().direct[0]));
    assert_eq!(one.connections()[0].lookup, Some("known"));
    let info = there.info();
    assert!(!info.dialled_by_us && info.post_quantum, "{info:?}");
    end([one, two]).await;
}
