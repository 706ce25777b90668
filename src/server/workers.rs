//! The threads that serve gRPC. Each has a runtime for itself, and a connection stays on the thread that it was dealt to.
//!
//! A runtime that moves tasks between threads polls what was woken last next. So an answer that is ready wakes its connection,
//! which writes it before the next one is ready: 12,481 writes for 20,000 answers on 4 connections with 25 calls each. On a
//! runtime of one thread, a connection has its turn after all that were ready before it, and writes what they answered at
//! once: 808 writes, and less than half of the processor time.
//!
//! Connections are accepted in one place and dealt out: each to the worker that has the fewest, in turn among equals. (The
//! kernel deals them by a hash of their addresses, with `SO_REUSEPORT`, and may hand all of a few to one thread.) A connection
//! that is told to go counts no more: its client's next one is dealt as if it were gone.
//!
//! What keeps a worker busy keeps all its connections waiting. So workers do nothing but serve connections: whatever reads
//! files, talks to a database or takes long is done on the runtime that the server was started on. That one also serves HTTP
//! and administrators, follows changes and signals, and accepts connections.
//!
//! A panic ends a task and not its worker. A worker that ends nevertheless ends the server: see [`Workers::lost`].

use std::convert::Infallible;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

/// How long a worker may take to end. One that takes longer is in the middle of something that does not wait for anything.
const END_TIME: Duration = Duration::from_secs(1);

/// How many threads each worker may have for what takes long and waits for nothing, which is to merge many policies.
const MAX_MERGING: usize = 1;

/// The workers of a server. They end with it.
#[derive(Debug)]
pub(super) struct Workers {
    dealer: Dealer,
    /// Dropped, they let the workers end.
    running: Vec<oneshot::Sender<Infallible>>,
    ended: watch::Receiver<usize>,
}

/// Deals out connections, for all listeners together.
#[derive(Debug, Clone)]
pub(super) struct Dealer(Arc<Desks>);

#[derive(Debug)]
struct Desks {
    first: Desk,
    others: Vec<Desk>,
    /// Whose turn it is among equals.
    turn: AtomicUsize,
}

/// Where connections are served.
#[derive(Debug, Clone)]
struct Desk {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
}

/// A connection's place on a worker, until this is dropped.
#[derive(Debug)]
pub(super) struct Seat(Desk);

/// Tells that a thread has ended, however that came.
struct Ending(Arc<watch::Sender<usize>>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.send_modify(|ended| *ended += 1);
    }
}

impl Workers {
    /// Starts so many.
    ///
    /// # Errors
    ///
    /// If the system has no threads or no files left.
    pub(super) async fn start(count: NonZeroUsize) -> io::Result<Self> {
        let (ended, ending) = watch::channel(0);
        let ended = Arc::new(ended);
        let mut running = Vec::with_capacity(count.get());
        let first = Desk::start(0, &ended, &mut running).await?;
        let mut others = Vec::with_capacity(count.get() - 1);
        for index in 1..count.get() {
            others.push(Desk::start(index, &ended, &mut running).await?);
        }
        Ok(Self { dealer: Dealer::among(first, others), running, ended: ending })
    }

    /// What deals connections to them.
    pub(super) fn dealer(&self) -> &Dealer {
        &self.dealer
    }

    /// Completes when one of them has ended, although they were not stopped: its connections are gone, and nobody would serve
    /// those that are dealt to it.
    pub(super) async fn lost(&self) {
        let mut ended = self.ended.clone();
        let _lost = ended.wait_for(|ended| *ended > 0).await;
    }

    /// Ends them, and what is left on them.
    pub(super) async fn stop(&mut self) {
        let count = self.dealer.desks().count();
        self.running.clear();
        let ended = self.ended.wait_for(|ended| *ended >= count);
        if timeout(END_TIME, ended).await.is_err() {
            tracing::warn!("a worker does not end: it goes with the process");
        }
    }
}

impl Dealer {
    /// Leaves all connections on the runtime that this is called on.
    pub(super) fn here() -> Self {
        Self::among(Desk::on(Handle::current()), Vec::new())
    }

    fn among(first: Desk, others: Vec<Desk>) -> Self {
        Self(Arc::new(Desks { first, others, turn: AtomicUsize::new(0) }))
    }

    /// A place for the next connection.
    pub(super) fn deal(&self) -> Seat {
        let Desks { first, others, turn } = &*self.0;
        let count = 1 + others.len();
        let turn = turn.fetch_add(1, Ordering::Relaxed) % count;
        let in_turn = self.desks().chain(self.desks()).skip(turn).take(count);
        let desk = in_turn.min_by_key(|desk| desk.connections.load(Ordering::Relaxed)).unwrap_or(first);
        Seat::at(desk.clone())
    }

    /// How many connections each has, but for those that are told to go.
    pub(super) fn connections(&self) -> Vec<usize> {
        self.desks().map(|desk| desk.connections.load(Ordering::Relaxed)).collect()
    }

    /// Completes when each of them has had a turn, which takes for ever if one hangs.
    pub(super) async fn round(&self) {
        for desk in self.desks() {
            // Whether it could: one that has ended is told by other means.
            let _turn = desk.runtime.spawn(async {}).await;
        }
    }

    fn desks(&self) -> impl Iterator<Item = &Desk> {
        let Desks { first, others, turn: _ } = &*self.0;
        std::iter::once(first).chain(others)
    }
}

impl Desk {
    fn on(runtime: Handle) -> Self {
        Self { runtime, connections: Arc::default() }
    }

    /// Starts a thread, which goes on until its end of `running` is dropped.
    async fn start(
        index: usize,
        ended: &Arc<watch::Sender<usize>>,
        running: &mut Vec<oneshot::Sender<Infallible>>,
    ) -> io::Result<Self> {
        let (run, stopped) = oneshot::channel();
        let (tell, told) = oneshot::channel();
        let ending = Ending(ended.clone());
        thread::Builder::new().name(format!("grpc-{index}")).spawn(move || {
            let _ending = ending;
            // Made here: where it is made, it may also be dropped.
            let mut builder = Builder::new_current_thread();
            builder.enable_all().max_blocking_threads(MAX_MERGING).thread_name(format!("merge-{index}"));
            let runtime = match builder.build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(tell.send(Err(error))),
            };
            let _nobody_waits = tell.send(Ok(runtime.handle().clone()));
            let _stopped = runtime.block_on(stopped);
            // With it go the connections that are left. Nobody waits for a merge that nobody waits for.
            runtime.shutdown_background();
        })?;
        running.push(run);
        Ok(Self::on(told.await.map_err(io::Error::other)??))
    }
}

impl Seat {
    fn at(desk: Desk) -> Self {
        desk.connections.fetch_add(1, Ordering::Relaxed);
        Self(desk)
    }

    /// Where what concerns the connection is to run.
    pub(super) fn runtime(&self) -> Handle {
        self.0.runtime.clone()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::panic::resume_unwind;

    use super::*;

    async fn workers(count: usize) -> Workers {
        Workers::start(NonZeroUsize::new(count).unwrap()).await.unwrap()
    }

    /// The thread that serves what has this seat.
    async fn thread(seat: &Seat) -> String {
        seat.runtime().spawn(async { thread::current().name().unwrap().to_owned() }).await.unwrap()
    }

    #[tokio::test]
    async fn connections_are_dealt_in_turn_and_each_stays_where_it_is() {
        let workers = workers(3).await;
        let seats: Vec<Seat> = (0..6).map(|_| workers.dealer().deal()).collect();
        for _ in 0..2 {
            for (index, seat) in seats.iter().enumerate() {
                assert_eq!(thread(seat).await, format!("grpc-{}", index % 3));
            }
        }
        assert_eq!(workers.dealer().connections(), [2, 2, 2]);
    }

    #[tokio::test]
    async fn whoever_has_fewer_connections_gets_the_next_one() {
        let workers = workers(3).await;
        let deal = || workers.dealer().clone().deal();
        let mut seats: Vec<Seat> = (0..6).map(|_| deal()).collect();
        // Both connections of the second one are gone.
        drop((seats.remove(4), seats.remove(1)));
        assert_eq!(workers.dealer().connections(), [2, 0, 2]);
        seats.extend([deal(), deal()]);
        assert_eq!(workers.dealer().connections(), [2, 2, 2]);
    }

    #[tokio::test]
    async fn a_panic_ends_its_task_alone() {
        let mut workers = workers(1).await;
        let seat = workers.dealer().deal();
        let fault = seat.runtime().spawn(async { resume_unwind(Box::new("planted")) });
        assert!(fault.await.unwrap_err().is_panic());
        assert_eq!(thread(&seat).await, "grpc-0");
        assert_eq!(*workers.ended.borrow_and_update(), 0);
    }

    #[tokio::test]
    async fn a_worker_that_ends_is_noticed() {
        let mut workers = workers(2).await;
        // As if it had panicked: its thread ends, and the other one goes on.
        drop(workers.running.pop());
        workers.lost().await;
        workers.dealer().round().await;
        workers.stop().await;
        assert_eq!(*workers.ended.borrow(), 2);
    }

    #[tokio::test]
    async fn workers_end_with_their_server_and_so_does_what_runs_on_them() {
        for stop in [true, false] {
            let mut workers = workers(2).await;
            let mut ended = workers.ended.clone();
            let left = workers.dealer().deal().runtime().spawn(pending::<()>());
            if stop {
                workers.stop().await;
                assert_eq!(*ended.borrow(), 2);
            }
            drop(workers);
            ended.wait_for(|ended| *ended == 2).await.unwrap();
            assert!(left.await.unwrap_err().is_cancelled());
        }
    }
}
