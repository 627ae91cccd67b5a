//! Machines that refuse: each call that may be missing is made to fail by a seccomp filter on the test's own thread.

use std::io::{Read, Write};

use super::files::{directory, file, other, read, write};
use super::*;

/// A call that fails.
#[derive(Debug, Clone, Copy)]
enum Refused {
    Call {
        number: libc::c_long,
        error: i32,
    },
    /// A call whose sixth argument has RWF_NOWAIT.
    Nowait {
        number: libc::c_long,
    },
}

/// Runs `test` on a thread on which these calls fail.
fn with_refusals(refused: &'static [Refused], test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        install(refused);
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn install(refused: &[Refused]) {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const HAS_BITS: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    let fail = |error: i32| step(RETURN, libc::SECCOMP_RET_ERRNO | error as u32, 0, 0);
    let mut program = Vec::new();
    for refused in refused {
        program.push(step(LOAD, 0, 0, 0));
        match *refused {
            Refused::Call { number, error } => {
                program.extend([step(EQUAL, number as u32, 0, 1), fail(error)]);
            }
            Refused::Nowait { number } => program.extend([
                step(EQUAL, number as u32, 0, 3),
                step(LOAD, 16 + 5 * 8, 0, 0),
                step(HAS_BITS, libc::RWF_NOWAIT as u32, 0, 1),
                fail(libc::EOPNOTSUPP),
            ]),
        }
    }
    program.push(step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0));
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: prctl reads the program during the call; the filter binds this thread only.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(
            libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program),
            0
        );
    }
}

const NO_RING: Refused = Refused::Call {
    number: libc::SYS_io_uring_setup,
    error: libc::EPERM,
};
const NO_RING_CALL: Refused = Refused::Call {
    number: libc::SYS_io_uring_setup,
    error: libc::ENOSYS,
};
const NO_AIO: Refused = Refused::Call {
    number: libc::SYS_io_setup,
    error: libc::ENOSYS,
};
const NO_NOWAIT: [Refused; 2] = [
    Refused::Nowait {
        number: libc::SYS_preadv2,
    },
    Refused::Nowait {
        number: libc::SYS_pwritev2,
    },
];
const NO_FLAGS: [Refused; 2] = [
    Refused::Call {
        number: libc::SYS_preadv2,
        error: libc::ENOSYS,
    },
    Refused::Call {
        number: libc::SYS_pwritev2,
        error: libc::ENOSYS,
    },
];

fn all_works(choice: DriverChoice, expect: DriverKind, refusals: &[&str]) {
    let slab = Slab::new(64 << 20).unwrap();
    let (driver, report) = choose_driver(choice, slab.clone()).unwrap();
    assert_eq!(report.kind, expect);
    let found = report
        .refusals
        .iter()
        .map(|refusal| refusal.what)
        .collect::<Vec<_>>();
    assert_eq!(found, refusals);
    let mut bench = Bench {
        driver,
        slab,
        done: HashMap::new(),
        next_token: 0,
    };
    let (socket, mut peer) = bench.connection();
    peer.write_all(b"ping").unwrap();
    assert_eq!(bench.receive_all(socket, 4), b"ping");
    let token = bench.push(Op::Send {
        socket,
        list: arena_list(b"pong", 4),
    });
    sent(bench.wait(token)).0.unwrap();
    peer.read_exact(&mut [0; 4]).unwrap();
    let dir = directory();
    for direct in [false, true] {
        let (file, _) = file(&mut bench, dir.path(), 1 << 20, direct);
        let bytes = pattern(65_536);
        for durable in [false, true] {
            assert_eq!(
                write(&mut bench, file, 4096, &bytes, durable).unwrap(),
                bytes.len()
            );
        }
        assert!(read(&mut bench, file, 4096, bytes.len()).unwrap() == bytes);
        other(&mut bench, Op::Flush { file }).unwrap();
        other(
            &mut bench,
            Op::Punch {
                file,
                offset: 0,
                bytes: 8192,
            },
        )
        .unwrap();
    }
}

#[test]
fn auto_without_io_uring_is_epoll_and_says_why() {
    with_refusals(&[NO_RING], || {
        all_works(DriverChoice::Auto, DriverKind::Epoll, &["io_uring"]);
        let slab = Slab::new(1 << 20).unwrap();
        let (_, report) = choose_driver(DriverChoice::Auto, slab).unwrap();
        let expected = "epoll; io_uring refused: Operation not permitted (os error 1), instead: \
                        epoll with native AIO";
        assert_eq!(report.to_string(), expected);
    });
    with_refusals(&[NO_RING_CALL], || {
        all_works(DriverChoice::Auto, DriverKind::Epoll, &["io_uring"]);
    });
}

#[test]
fn auto_with_io_uring_is_mixed() {
    all_works(DriverChoice::Auto, DriverKind::Mixed, &[]);
}

#[test]
fn uring_and_mixed_where_io_uring_is_refused_are_an_error_that_says_so() {
    with_refusals(&[NO_RING], || {
        for choice in [DriverChoice::Uring, DriverChoice::Mixed] {
            let slab = Slab::new(1 << 20).unwrap();
            let Err(error) = choose_driver(choice, slab) else {
                panic!("{choice:?} works")
            };
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            assert!(
                error.to_string().starts_with("io_uring refused: "),
                "{error}"
            );
        }
    });
}

#[test]
fn epoll_makes_no_io_uring_call() {
    // A filter that would end the process with SIGSYS cannot be asserted on; one that fails the calls in an odd way can.
    const ODD: i32 = libc::EXDEV;
    with_refusals(
        &[
            Refused::Call {
                number: libc::SYS_io_uring_setup,
                error: ODD,
            },
            Refused::Call {
                number: libc::SYS_io_uring_enter,
                error: ODD,
            },
            Refused::Call {
                number: libc::SYS_io_uring_register,
                error: ODD,
            },
        ],
        || all_works(DriverChoice::Epoll, DriverKind::Epoll, &[]),
    );
}

#[test]
fn epoll_without_native_aio_works_and_says_so() {
    with_refusals(&[NO_AIO], || {
        all_works(DriverChoice::Epoll, DriverKind::Epoll, &["native AIO"]);
    });
    with_refusals(&[NO_RING, NO_AIO], || {
        all_works(
            DriverChoice::Auto,
            DriverKind::Epoll,
            &["io_uring", "native AIO"],
        );
    });
}

#[test]
fn every_driver_works_without_rwf_nowait() {
    for (choice, kind) in [
        (DriverChoice::Epoll, DriverKind::Epoll),
        (DriverChoice::Mixed, DriverKind::Mixed),
        (DriverChoice::Uring, DriverKind::Uring),
    ] {
        with_refusals(&NO_NOWAIT, move || all_works(choice, kind, &[]));
        with_refusals(&NO_FLAGS, move || all_works(choice, kind, &[]));
    }
}
