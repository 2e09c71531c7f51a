//! How many tell one thread what there is to do.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// What was told since the thread last looked. It is for what is told to stay bounded, as a set of keys is.
pub(crate) struct Mailbox<T> {
    inside: Mutex<Inside<T>>,
    wake: Condvar,
}

struct Inside<T> {
    content: T,
    is_new: bool,
    closed: bool,
}

impl<T: Default> Mailbox<T> {
    /// Nothing was told.
    pub fn new() -> Mailbox<T> {
        let inside = Inside { content: T::default(), is_new: false, closed: false };
        Mailbox { inside: Mutex::new(inside), wake: Condvar::new() }
    }

    /// Tells something.
    pub fn tell(&self, change: impl FnOnce(&mut T)) {
        let mut inside = self.inside.lock();
        change(&mut inside.content);
        inside.is_new = true;
        self.wake.notify_one();
    }

    /// Ends the thread.
    pub fn close(&self) {
        self.inside.lock().closed = true;
        self.wake.notify_all();
    }

    /// Waits until something was told, or for `at_most`; `None` when there is no more to do.
    pub fn next(&self, at_most: Option<Duration>) -> Option<T> {
        let mut inside = self.inside.lock();
        while !inside.is_new && !inside.closed {
            match at_most {
                None => self.wake.wait(&mut inside),
                Some(time) => {
                    if self.wake.wait_for(&mut inside, time).timed_out() {
                        break;
                    }
                }
            }
        }
        inside.is_new = false;
        (!inside.closed).then(|| std::mem::take(&mut inside.content))
    }
}

/// Closes a mailbox when it is dropped.
pub(crate) struct CloseOnDrop<T: Default>(pub std::sync::Arc<Mailbox<T>>);

impl<T: Default> Drop for CloseOnDrop<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}
