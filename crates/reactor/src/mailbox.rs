//! Messages to a worker: any number of senders, one receiver, no bound, and the worker is woken only when it sleeps.
//!
//! There is no bound because a worker must never wait for another one; who sends keeps what is under way bounded.

use std::sync::mpsc;

use crate::Waker;

/// A mailbox of the worker that `waker` wakes.
pub fn channel<T: Send>(waker: Waker) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = mpsc::channel();
    (Sender { sender, waker }, Receiver { receiver })
}

/// Puts messages into a worker's mailbox, from any thread.
#[derive(Debug)]
pub struct Sender<T> {
    sender: mpsc::Sender<T>,
    waker: Waker,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            waker: self.waker.clone(),
        }
    }
}

impl<T: Send> Sender<T> {
    /// Sends one message and makes the worker look. Messages of one sender arrive in order.
    ///
    /// # Errors
    /// The message itself, when the worker is gone.
    pub fn send(&self, message: T) -> Result<(), T> {
        self.sender
            .send(message)
            .map_err(|mpsc::SendError(message)| message)?;
        self.waker.wake();
        Ok(())
    }
}

/// A worker's own end of its mailbox. Look after each turn of the driver.
#[derive(Debug)]
pub struct Receiver<T> {
    receiver: mpsc::Receiver<T>,
}

impl<T: Send> Receiver<T> {
    /// The next message, if one is there.
    pub fn try_receive(&mut self) -> Option<T> {
        self.receiver.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::channel;
    use crate::Waker;

    #[test]
    fn messages_of_several_senders_arrive_in_each_senders_order() {
        let waker = Waker::new().unwrap();
        let (sender, mut receiver) = channel(waker.clone());
        let threads = (0..4).map(|who| {
            let sender = sender.clone();
            std::thread::spawn(move || (0..1000).for_each(|i| sender.send((who, i)).unwrap()))
        });
        for thread in threads.collect::<Vec<_>>() {
            thread.join().unwrap();
        }
        let mut next = [0; 4];
        while let Some((who, i)) = receiver.try_receive() {
            assert_eq!(i, next[who]);
            next[who] += 1;
        }
        assert_eq!(next, [1000; 4]);
        assert!(waker.is_notified());
    }

    #[test]
    fn send_to_a_worker_that_is_gone_gives_the_message_back() {
        let (sender, receiver) = channel(Waker::new().unwrap());
        drop(receiver);
        assert_eq!(sender.send(7), Err(7));
    }
}
