//! The pair of streams that stays open after the hello: who is there, and until when.

use iroh::endpoint::{RecvStream, SendStream};

use crate::error::code;
use crate::link::{ControlEnds, Link};

/// Asks whether the other side is there.
const PING: u8 = 1;
/// Answers one ping.
const PONG: u8 = 2;

/// Answers pings and sends ours, until the connection ends. A peer that says anything else, or ends the
/// stream, does not keep to the protocol and is cut off.
pub(crate) async fn run(link: &Link, mut send: SendStream, mut recv: RecvStream, mut ends: ControlEnds) {
    let mut buffer = [0; 64];
    let mut broken = false;
    while !broken {
        tokio::select! {
            _ = link.conn.closed() => return,
            Some(()) = ends.pings.recv() => broken = send.write_all(&[PING]).await.is_err(),
            read = recv.read(&mut buffer) => match read {
                Ok(Some(read)) => {
                    link.heard();
                    let asked = buffer[..read].iter().filter(|byte| **byte == PING).count();
                    let answered = buffer[..read].iter().filter(|byte| **byte == PONG).count();
                    ends.pongs.send_modify(|pongs| *pongs += answered as u64);
                    broken = asked + answered != read;
                    if !broken && asked > 0 {
                        broken = send.write_all(&[PONG; 64][..asked]).await.is_err();
                    }
                }
                Ok(None) | Err(_) => broken = true,
            },
        }
    }
    link.close(code::PROTOCOL);
}
