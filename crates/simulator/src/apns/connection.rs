//! One connection, to the frame: requests in the order of their streams, each in a task of its own, and the
//! scripted misbehaviour.
//!
//! A GOAWAY names the last stream that was taken; later ones stay untouched until the connection ends, so
//! that a sender may (and must) send exactly those again.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tokio::task::JoinSet;

use super::exchange::Exchange;
use super::{Apns, request};
use crate::stand_in::clock::pause;
use crate::stand_in::listener::Accepted;
use crate::stand_in::wire::{End, Socket, Switch, Tap};
use crate::stand_in::{Answer, Behaviour, Desk};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection lives on after its GOAWAY, if the client does not close it.
const GOAWAY_GRACE: Duration = Duration::from_secs(1);
const WINDOW_BYTES: u32 = 1024 * 1024;

type Connection = h2::server::Connection<Tap<Box<dyn Socket>>, Bytes>;

struct Serving {
    desk: Arc<Desk<Apns>>,
    number: u64,
    switch: Switch,
    tasks: JoinSet<()>,
    /// Came after the GOAWAY: dropping them would answer them, with RST_STREAM.
    held: Vec<(Request<RecvStream>, SendResponse<Bytes>)>,
    last_stream: u32,
    taken: u32,
    is_closing: bool,
}

/// Serves one connection to its end.
pub(super) async fn serve(desk: Arc<Desk<Apns>>, accepted: Accepted) {
    let Accepted { number, stream, switch } = accepted;
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(desk.common.max_concurrent_streams)
        .initial_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES);
    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, builder.handshake(stream)).await;
    let Ok(Ok(connection)) = handshake else { return };
    let tasks = JoinSet::new();
    let serving =
        Serving { desk, number, switch, tasks, held: Vec::new(), last_stream: 0, taken: 0, is_closing: false };
    serving.run(connection).await;
}

impl Serving {
    async fn run(mut self, mut connection: Connection) {
        let switch = self.switch.clone();
        let mut ended = pin!(switch.ended());
        loop {
            tokio::select! {
                // What ends a connection outruns what still comes over it.
                biased;
                end = &mut ended => match end {
                    End::Reset | End::Closed => return,
                    // Held open, but never polled again.
                    End::Silence => std::future::pending().await,
                },
                accepted = connection.accept() => match accepted {
                    Some(Ok((request, respond))) => self.take(request, respond),
                    Some(Err(_)) | None => return,
                },
                Some(_) = self.tasks.join_next() => {}
            }
            if self.is_closing {
                return self.drain(connection).await;
            }
        }
    }

    fn take(&mut self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        let behaviour = self.desk.scripts.next(&request::token_of(request.uri().path()));
        if behaviour == (Behaviour::GoAway {}) {
            let heads = request::read(&self.desk, &request, || self.fresh_id(0));
            let (now, answer) = (self.desk.now(), Answer::none("goaway"));
            self.desk.ledger.record(now, self.number, &heads.token, answer, || heads.push);
            self.held.push((request, respond));
            return self.go_away();
        }
        self.last_stream = respond.stream_id().as_u32();
        self.taken += 1;
        let heads = request::read(&self.desk, &request, || self.fresh_id(self.last_stream));
        let exchange = Exchange {
            desk: self.desk.clone(),
            connection: self.number,
            switch: self.switch.clone(),
            heads,
            respond,
            body: request.into_body(),
        };
        self.tasks.spawn(exchange.run(behaviour));
        if self.desk.common.goaway_every.is_some_and(|every| self.taken >= every) {
            self.go_away();
        }
    }

    /// An `apns-id` for a request without one; unique in this stand-in.
    fn fresh_id(&self, stream: u32) -> String {
        uuid::Uuid::from_u64_pair(self.number, u64::from(stream)).to_string()
    }

    fn go_away(&mut self) {
        self.is_closing = true;
        self.switch.write_between(goaway_frame(self.last_stream));
    }

    /// Answers what was taken, ignores what comes, until the client has gone or the grace is over.
    async fn drain(mut self, mut connection: Connection) {
        let mut grace = pin!(pause(GOAWAY_GRACE));
        let switch = self.switch.clone();
        let mut ended = pin!(switch.ended());
        loop {
            tokio::select! {
                accepted = connection.accept() => match accepted {
                    Some(Ok(later)) => self.held.push(later),
                    Some(Err(_)) | None => return,
                },
                Some(_) = self.tasks.join_next() => {}
                _ = &mut ended => return,
                () = &mut grace => return,
            }
        }
    }
}

/// GOAWAY with NO_ERROR (RFC 9113 section 6.8): 8 bytes on stream 0.
fn goaway_frame(last_stream: u32) -> Vec<u8> {
    let mut frame = vec![0, 0, 8, 7, 0, 0, 0, 0, 0];
    frame.extend(last_stream.to_be_bytes());
    frame.extend(u32::from(Reason::NO_ERROR).to_be_bytes());
    frame
}
