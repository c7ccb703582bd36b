//! Two nodes dial each other at the same moment.

use std::sync::Arc;

use tokio::sync::Barrier;

use crate::pair::{ask, end, offline, serve, start};

/// Rounds; each meets in another interleaving.
const ROUNDS: usize = 25;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dialling_each_other_at_once_ends_with_a_connection() {
    for round in 0..ROUNDS {
        let (one, two) = tokio::join!(start(offline()), start(offline()));
        one.know(two.address());
        two.know(one.address());
        serve(&one);
        serve(&two);
        let barrier = Arc::new(Barrier::new(2));
        let meet = |from: &polykey_net::Net, to: &polykey_net::Net| {
            let (from, to, barrier) = (from.clone(), to.node(), Arc::clone(&barrier));
            tokio::spawn(async move {
                barrier.wait().await;
                // Whatever connection each gets, a request on it is answered: none is cut under way.
                for request in 0..3_u8 {
                    ask(&from.connect(&to).await.unwrap(), &[request]).await.unwrap();
                }
            })
        };
        let (a, b) = tokio::join!(meet(&one, &two), meet(&two, &one));
        a.unwrap();
        b.unwrap();
        let count = (one.connections().len(), two.connections().len());
        assert!(
            (1..=2).contains(&count.0) && (1..=2).contains(&count.1),
            "round {round}: {count:?}"
        );
        end([one, two]).await;
    }
}
