#[cfg(not(loom))]
mod plain {
    use super::super::Waker;
    use std::os::fd::AsFd;

    fn readable(waker: &Waker) -> bool {
        let timeout = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let fd = waker.as_fd();
        let mut fds = [rustix::event::PollFd::new(
            &fd,
            rustix::event::PollFlags::IN,
        )];
        rustix::event::poll(&mut fds, Some(&timeout)).unwrap() == 1
    }

    #[test]
    fn wake_of_a_running_worker_rings_nothing_but_is_remembered() {
        let waker = Waker::new().unwrap();
        waker.wake();
        assert!(!readable(&waker));
        assert!(waker.is_notified());
        assert!(
            !waker.prepare_sleep(),
            "a worker that was woken does not sleep"
        );
        assert!(waker.awake());
        assert!(waker.prepare_sleep());
    }

    #[test]
    fn wake_of_a_sleeping_worker_rings_once() {
        let waker = Waker::new().unwrap();
        assert!(waker.prepare_sleep());
        waker.wake();
        waker.wake();
        assert!(readable(&waker));
        let mut count = [0; 8];
        rustix::io::read(waker.as_fd().as_fd(), &mut count).unwrap();
        assert_eq!(u64::from_ne_bytes(count), 1);
        assert!(waker.awake());
        assert!(!waker.awake());
    }
}

#[cfg(loom)]
mod model {
    use super::super::Signal;
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicBool, Ordering};

    /// A message is published, then the worker notified. Whatever the interleaving: the worker that goes to sleep
    /// without the message has a ring coming.
    #[test]
    fn no_message_is_slept_over() {
        loom::model(|| {
            let signal = Arc::new(Signal::new());
            let message = Arc::new(AtomicBool::new(false));
            let rung = Arc::new(AtomicBool::new(false));
            let notifier = loom::thread::spawn({
                let (signal, message, rung) = (signal.clone(), message.clone(), rung.clone());
                move || {
                    message.store(true, Ordering::Release);
                    if signal.notify() {
                        rung.store(true, Ordering::Release);
                    }
                }
            });
            let slept = signal.prepare_sleep();
            notifier.join().unwrap();
            // Who was told to ring did so because the worker slept, and only then.
            assert_eq!(slept, rung.load(Ordering::Acquire));
            assert!(slept || signal.is_notified());
            assert!(signal.awake());
            assert!(
                message.load(Ordering::Acquire),
                "what was published is seen after the wake"
            );
        });
    }
}
