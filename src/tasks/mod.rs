//! Tasks that run for the life of the process. If one ends or panics, the process ends with an error: without it, the
//! daemon would seem healthy while it observes or does nothing.

pub mod heartbeat;

use std::collections::HashMap;
use std::panic::resume_unwind;

use tokio::task::{Id, JoinError, JoinSet};

/// A set of named tasks. Dropping it ends them.
#[derive(Debug, Default)]
pub struct Tasks {
    set: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

/// A task has ended unexpectedly.
#[derive(Debug, thiserror::Error)]
#[error("the task \"{name}\" {}", how(.panic.as_deref()))]
pub struct TaskEnded {
    name: &'static str,
    /// The panic message, if it panicked.
    panic: Option<String>,
}

fn how(panic: Option<&str>) -> String {
    match panic {
        Some(message) => format!("panicked: {message}"),
        None => "ended by itself".to_owned(),
    }
}

impl Tasks {
    /// Starts a task.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let id = self.set.spawn(task).id();
        self.names.insert(id, name);
    }

    /// Waits until one of them ends; forever if there is none.
    pub async fn ended(&mut self) -> TaskEnded {
        let Some(ended) = self.set.join_next_with_id().await else {
            return std::future::pending().await;
        };
        let (id, panic) = match ended {
            Ok((id, ())) => (id, None),
            Err(error) => (error.id(), Some(message(error))),
        };
        TaskEnded {
            name: self.names.remove(&id).unwrap_or("unknown"),
            panic,
        }
    }

    /// Waits until all have ended.
    pub async fn all_ended(&mut self) {
        while self.set.join_next().await.is_some() {}
    }
}

/// Removes finished tasks from `tasks`. A panic is resumed in the caller, so that its supervisor observes it.
pub fn reap(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.try_join_next() {
        if let Err(error) = ended
            && error.is_panic()
        {
            resume_unwind(error.into_panic());
        }
    }
}

fn message(error: JoinError) -> String {
    if !error.is_panic() {
        return error.to_string();
    }
    let panic = error.into_panic();
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn panic_is_reported_with_the_task_name() {
        let mut tasks = Tasks::default();
        tasks.spawn("idle", std::future::pending());
        tasks.spawn("controller", async { panic!("out of {}", "bounds") });
        let ended = tasks.ended().await.to_string();
        assert_eq!(ended, "the task \"controller\" panicked: out of bounds");
    }

    #[tokio::test]
    async fn end_is_reported_with_the_task_name() {
        let mut tasks = Tasks::default();
        tasks.spawn("idle", std::future::pending());
        tasks.spawn("store", async {});
        let ended = tasks.ended().await.to_string();
        assert_eq!(ended, "the task \"store\" ended by itself");
    }

    #[tokio::test(start_paused = true)]
    async fn empty_set_never_ends() {
        let none = tokio::time::timeout(std::time::Duration::from_hours(1), async {
            Tasks::default().ended().await
        });
        assert!(none.await.is_err());
    }

    #[tokio::test]
    #[should_panic(expected = "tail")]
    async fn nested_panic_is_resumed_in_the_outer_task() {
        let mut tasks = JoinSet::new();
        tasks.spawn(async { panic!("tail") });
        loop {
            reap(&mut tasks);
            tokio::task::yield_now().await;
        }
    }
}
