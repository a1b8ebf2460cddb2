//! The tasks of one simulated process.

use mars_gossip::Spawner;
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};
use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// All tasks of one process life, so that a crash ends them at once.
#[derive(Clone, Debug, Default)]
pub struct NodeRuntime {
    tasks: Arc<Mutex<Vec<AbortHandle>>>,
    panics: Arc<Mutex<Vec<String>>>,
}

/// A task whose panic is noted instead of swallowed.
struct Guarded<F> {
    task: Pin<Box<F>>,
    panics: Arc<Mutex<Vec<String>>>,
}

impl<F: Future<Output = ()>> Future for Guarded<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let polled = catch_unwind(AssertUnwindSafe(|| self.task.as_mut().poll(cx)));
        polled.unwrap_or_else(|panic| {
            self.panics.lock().unwrap().push(words(&*panic));
            Poll::Ready(())
        })
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}

impl NodeRuntime {
    /// Starts a task of this process.
    pub fn start(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = Guarded {
            task: Box::pin(task),
            panics: Arc::clone(&self.panics),
        };
        let handle = tokio::spawn(task).abort_handle();
        let mut tasks = self.tasks.lock().unwrap();
        if tasks.len() > 64 {
            tasks.retain(|task| !task.is_finished());
        }
        tasks.push(handle);
    }

    /// The same as a [`Spawner`].
    #[must_use]
    pub fn spawner(&self) -> Spawner {
        let runtime = self.clone();
        Arc::new(move |task| runtime.start(task))
    }

    /// Ends all tasks where they are.
    pub fn crash(&self) {
        for task in self.tasks.lock().unwrap().drain(..) {
            task.abort();
        }
    }

    /// What the first task that panicked said.
    #[must_use]
    pub fn panicked(&self) -> Option<String> {
        self.panics.lock().unwrap().first().cloned()
    }
}

impl Runtime for NodeRuntime {
    fn new_timer(&self, at: std::time::Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.start(task);
    }

    fn wrap_udp_socket(&self, _: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn now(&self) -> std::time::Instant {
        Instant::now().into_std()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_panic_in_a_task_is_noted() {
        let runtime = NodeRuntime::default();
        runtime.start(async { panic!("said {}", 1) });
        tokio::task::yield_now().await;
        assert_eq!(runtime.panicked().as_deref(), Some("said 1"));
    }
}
