use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::{LocalShared, SharedMemory};

on_each_driver![
    echo_of_all_sizes_returns_the_bytes,
    send_of_more_pieces_than_one_call_takes_sends_all_in_order,
    send_to_a_slow_reader_completes_once_when_all_has_gone,
    send_from_frozen_and_pinned_memory_gives_both_back,
    send_of_nothing_completes_at_once,
    send_of_a_range_beyond_its_memory_is_invalid,
    send_after_the_peer_reset_fails_without_a_signal,
    recv_places_first_and_stages_the_rest,
    recv_into_pinned_memory_lands_in_the_store,
    recv_into_a_range_beyond_its_buffer_is_invalid,
    recv_takes_memory_only_when_data_is_there,
    recv_of_a_closed_stream_is_zero_and_of_a_reset_one_an_error,
    recv_after_half_close_gets_every_byte_and_then_the_end,
    recv_is_started_again_when_staging_memory_returns,
    second_operation_of_a_kind_on_a_socket_is_busy,
    operations_on_unknown_sockets_find_nothing,
    cancel_ends_receive_and_accept_and_send,
    cancel_of_an_unknown_token_changes_nothing,
    close_completes_everything_in_flight_and_ends_the_connection,
    close_of_an_idle_socket_ends_the_connection,
    dropping_the_driver_with_operations_in_flight_gives_memory_back,
    take_socket_works_at_rest_only_and_the_stream_goes_on_elsewhere,
    accept_gives_connections_one_by_one_with_their_peers,
    a_silent_peer_delays_nobody,
    many_connections_echo_at_once,
    waker_ends_a_turn_that_waits_for_ever,
    turn_until_returns_with_nothing,
    idle_turns_give_memory_back_to_the_kernel,
];

fn echo_of_all_sizes_returns_the_bytes(mut bench: Bench) {
    let (socket, mut peer) = bench.connection();
    for len in [1, 47, 48, 4096, 65_535, 65_536, 65_537, 300_000, 1 << 20] {
        let bytes = pattern(len);
        let writer = std::thread::spawn({
            let (mut peer, bytes) = (peer.try_clone().unwrap(), bytes.clone());
            move || peer.write_all(&bytes).unwrap()
        });
        let got = bench.receive_all(socket, len);
        writer.join().unwrap();
        assert!(got == bytes, "{len} bytes came differently");
        let reader = std::thread::spawn({
            let mut peer = peer.try_clone().unwrap();
            move || {
                let mut echo = vec![0; len];
                peer.read_exact(&mut echo).unwrap();
                echo
            }
        });
        let token = bench.push(Op::Send {
            socket,
            list: arena_list(&got, len),
        });
        sent(bench.wait(token)).0.unwrap();
        assert!(
            reader.join().unwrap() == bytes,
            "{len} bytes went differently"
        );
    }
    peer.flush().unwrap();
}

fn send_of_more_pieces_than_one_call_takes_sends_all_in_order(mut bench: Bench) {
    let (socket, peer) = bench.connection();
    let bytes = pattern(2500 * 7 - 3);
    let list = arena_list(&bytes, 7);
    assert_eq!(list.pieces.len(), 2500);
    let reader = slow_reader(peer, bytes.len());
    let token = bench.push(Op::Send { socket, list });
    sent(bench.wait(token)).0.unwrap();
    assert!(reader.join().unwrap() == bytes);
}

fn send_to_a_slow_reader_completes_once_when_all_has_gone(mut bench: Bench) {
    let (socket, peer) = bench.connection();
    let bytes = pattern(8 << 20);
    let token = bench.push(Op::Send {
        socket,
        list: arena_list(&bytes, 100_000),
    });
    bench.driver.submit();
    bench.settle();
    assert!(!bench.is_done(token), "8 MiB do not fit into the socket");
    let reader = slow_reader(peer, bytes.len());
    sent(bench.wait(token)).0.unwrap();
    assert!(reader.join().unwrap() == bytes);
}

fn send_from_frozen_and_pinned_memory_gives_both_back(mut bench: Bench) {
    let (socket, mut peer) = bench.connection();
    let memory = Arc::new(SharedMemory::new(1 << 20).unwrap());
    memory.copy_in(1000, b"pinned").unwrap();
    let pin = LocalShared::new(memory).pin(1000, 6).unwrap();
    let frozen = bench.frozen(b"..frozen..");
    let pieces = vec![
        SendPiece::Frozen {
            buffer: frozen.clone(),
            range: 2..8,
        },
        SendPiece::Arena(0..1),
        SendPiece::Pinned(pin),
    ];
    let list = Box::new(SendList {
        arena: b"-".to_vec(),
        pieces,
    });
    assert_eq!(list.total_bytes(), 13);
    let token = bench.push(Op::Send { socket, list });
    let (result, mut list) = sent(bench.wait(token));
    result.unwrap();
    let mut got = [0; 13];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"frozen-pinned");
    let frozen = frozen.try_unfreeze().expect_err("the list still holds it");
    list.clear();
    frozen.try_unfreeze().expect("nobody else holds it now");
    assert_eq!(bench.slab.used_bytes(), 0);
}

fn send_of_nothing_completes_at_once(mut bench: Bench) {
    let (socket, _peer) = bench.connection();
    let token = bench.push(Op::Send {
        socket,
        list: Box::default(),
    });
    sent(bench.wait(token)).0.unwrap();
    let token = bench.push(Op::Send {
        socket,
        list: arena_list(b"", 1),
    });
    sent(bench.wait(token)).0.unwrap();
}

fn send_of_a_range_beyond_its_memory_is_invalid(mut bench: Bench) {
    let (socket, _peer) = bench.connection();
    let frozen = bench.frozen(b"abc");
    for piece in [
        SendPiece::Arena(0..1),
        SendPiece::Frozen {
            buffer: frozen.clone(),
            range: 2..4,
        },
        #[expect(clippy::reversed_empty_ranges, reason = "a caller's mistake")]
        SendPiece::Frozen {
            buffer: frozen.clone(),
            range: 2..1,
        },
    ] {
        let list = Box::new(SendList {
            arena: Vec::new(),
            pieces: vec![piece],
        });
        let token = bench.push(Op::Send { socket, list });
        assert_eq!(os(&sent(bench.wait(token)).0.unwrap_err()), libc::EINVAL);
    }
}

fn send_after_the_peer_reset_fails_without_a_signal(mut bench: Bench) {
    let (socket, peer) = bench.connection();
    reset(peer);
    let end = Instant::now() + PATIENCE;
    loop {
        let token = bench.push(Op::Send {
            socket,
            list: arena_list(b"x", 1),
        });
        if let Err(error) = sent(bench.wait(token)).0 {
            assert!(
                [libc::ECONNRESET, libc::EPIPE].contains(&os(&error)),
                "{error}"
            );
            return;
        }
        assert!(Instant::now() < end);
    }
}

fn recv_places_first_and_stages_the_rest(mut bench: Bench) {
    let (socket, mut peer) = bench.connection();
    let bytes = pattern(30_000);
    let mut done = 0;
    peer.write_all(&bytes).unwrap();
    while done < 20_000 {
        let buffer = bench.buffer(20_000);
        let range = done as u32..20_000;
        let token = bench.recv(socket, Some(Place::Buffer { buffer, range }));
        let OpResult::Recv {
            result,
            place,
            placed_bytes,
            staging,
        } = bench.wait(token)
        else {
            panic!("not a receive")
        };
        let total = result.unwrap();
        let Some(Place::Buffer { buffer, .. }) = place else {
            panic!("the place comes back")
        };
        assert_eq!(
            buffer[done..done + placed_bytes],
            bytes[done..done + placed_bytes]
        );
        done += placed_bytes;
        assert_eq!(
            total - placed_bytes,
            staging.as_ref().map_or(0, |staging| staging.len())
        );
        if let Some(staging) = staging {
            assert_eq!(done, 20_000, "staging is used when the place is full");
            assert_eq!(staging[..], bytes[20_000..20_000 + staging.len()]);
        }
    }
}

fn recv_into_pinned_memory_lands_in_the_store(mut bench: Bench) {
    let (socket, mut peer) = bench.connection();
    let memory = Arc::new(SharedMemory::new(1 << 20).unwrap());
    let pin = LocalShared::new(memory.clone()).pin(500_000, 5).unwrap();
    let token = bench.recv(socket, Some(Place::Pinned(pin)));
    peer.write_all(b"hello").unwrap();
    let (bytes, _) = received(bench.wait(token));
    let bytes = bytes.unwrap();
    let mut stored = vec![0; bytes.len()];
    memory.copy_out(500_000, &mut stored).unwrap();
    assert_eq!(stored, bytes);
    assert!(b"hello".starts_with(&bytes) && !bytes.is_empty());
}

fn recv_into_a_range_beyond_its_buffer_is_invalid(mut bench: Bench) {
    let (socket, _peer) = bench.connection();
    let buffer = bench.buffer(100);
    let token = bench.recv(
        socket,
        Some(Place::Buffer {
            buffer,
            range: 50..101,
        }),
    );
    assert_eq!(
        os(&received(bench.wait(token)).0.unwrap_err()),
        libc::EINVAL
    );
}

fn recv_takes_memory_only_when_data_is_there(mut bench: Bench) {
    let connections = (0..100).map(|_| bench.connection()).collect::<Vec<_>>();
    let tokens = connections
        .iter()
        .map(|(socket, _)| bench.recv(*socket, None))
        .collect::<Vec<_>>();
    bench.settle();
    assert!(tokens.iter().all(|token| !bench.is_done(*token)));
    assert_eq!(bench.slab.used_bytes(), 0);
    // There are fewer staging buffers than connections: had each taken one, the last could not receive.
    let (_, peer) = &connections[99];
    (&*peer).write_all(b"x").unwrap();
    assert_eq!(received(bench.wait(tokens[99])).0.unwrap(), b"x");
}

fn recv_of_a_closed_stream_is_zero_and_of_a_reset_one_an_error(mut bench: Bench) {
    let (socket, peer) = bench.connection();
    drop(peer);
    assert_eq!(bench.receive(socket).unwrap(), b"");
    assert_eq!(bench.receive(socket).unwrap(), b"", "the end stays the end");
    let (socket, peer) = bench.connection();
    let token = bench.recv(socket, None);
    bench.settle();
    reset(peer);
    assert_eq!(
        os(&received(bench.wait(token)).0.unwrap_err()),
        libc::ECONNRESET
    );
}

fn recv_after_half_close_gets_every_byte_and_then_the_end(mut bench: Bench) {
    let (socket, mut peer) = bench.connection();
    let bytes = pattern(200_000);
    peer.write_all(&bytes).unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    assert!(bench.receive_all(socket, bytes.len()) == bytes);
    assert_eq!(bench.receive(socket).unwrap(), b"");
    let token = bench.push(Op::Send {
        socket,
        list: arena_list(b"bye", 3),
    });
    sent(bench.wait(token)).0.unwrap();
    let mut got = String::new();
    std::thread::spawn({
        let mut driver_side = peer.try_clone().unwrap();
        move || driver_side.read_exact(&mut [0; 3]).unwrap()
    })
    .join()
    .unwrap();
    bench.driver.close_socket(socket);
    bench.settle();
    peer.read_to_string(&mut got).unwrap();
    assert_eq!(got, "");
}

fn recv_is_started_again_when_staging_memory_returns(mut bench: Bench) {
    let connections = (0..100).map(|_| bench.connection()).collect::<Vec<_>>();
    let mut tokens = Vec::new();
    for (socket, peer) in &connections {
        (&*peer).write_all(b"x").unwrap();
        tokens.push(bench.recv(*socket, None));
    }
    bench.settle();
    let done = tokens.iter().filter(|token| bench.is_done(**token)).count();
    assert!((1..100).contains(&done), "{done} staging buffers");
    // Handling what has come sets the others free, and nothing is lost.
    let (first, rest) = tokens
        .into_iter()
        .partition::<Vec<_>, _>(|token| bench.is_done(*token));
    for token in first.into_iter().chain(rest) {
        assert_eq!(received(bench.wait(token)).0.unwrap(), b"x");
    }
}

fn second_operation_of_a_kind_on_a_socket_is_busy(mut bench: Bench) {
    let (socket, peer) = bench.connection();
    let first = bench.recv(socket, None);
    let second = bench.recv(socket, None);
    assert_eq!(
        os(&received(bench.wait(second)).0.unwrap_err()),
        libc::EBUSY
    );
    let big = pattern(8 << 20);
    let sending = bench.push(Op::Send {
        socket,
        list: arena_list(&big, big.len()),
    });
    bench.settle();
    let second = bench.push(Op::Send {
        socket,
        list: arena_list(b"x", 1),
    });
    assert_eq!(os(&sent(bench.wait(second)).0.unwrap_err()), libc::EBUSY);
    (&peer).write_all(b"y").unwrap();
    assert_eq!(
        received(bench.wait(first)).0.unwrap(),
        b"y",
        "the first is not disturbed"
    );
    let reader = slow_reader(peer, big.len());
    sent(bench.wait(sending)).0.unwrap();
    assert!(reader.join().unwrap() == big);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = bench.driver.add_listener(listener.into()).unwrap();
    let first = bench.push(Op::Accept { listener });
    let second = bench.push(Op::Accept { listener });
    assert_eq!(os(&accepted(bench.wait(second)).unwrap_err()), libc::EBUSY);
    assert!(!bench.is_done(first));
}

fn operations_on_unknown_sockets_find_nothing(mut bench: Bench) {
    let (socket, _peer) = bench.connection();
    bench.driver.close_socket(socket);
    bench.settle();
    let (other, _peer) = bench.connection();
    assert_ne!(other, socket, "an id is not reused");
    let never = SocketId {
        index: 77,
        generation: 0,
    };
    for id in [socket, never] {
        let token = bench.recv(id, None);
        assert_eq!(os(&received(bench.wait(token)).0.unwrap_err()), libc::EBADF);
        let token = bench.push(Op::Send {
            socket: id,
            list: arena_list(b"x", 1),
        });
        assert_eq!(os(&sent(bench.wait(token)).0.unwrap_err()), libc::EBADF);
        let token = bench.push(Op::Accept { listener: id });
        assert_eq!(os(&accepted(bench.wait(token)).unwrap_err()), libc::EBADF);
        assert!(bench.driver.take_socket(id).is_none());
        bench.driver.close_socket(id);
    }
    let token = bench.push(Op::Accept { listener: other });
    assert_eq!(
        os(&accepted(bench.wait(token)).unwrap_err()),
        libc::EBADF,
        "not a listener"
    );
}

fn cancel_ends_receive_and_accept_and_send(mut bench: Bench) {
    let (socket, mut peer) = bench.connection();
    let receiving = bench.recv(socket, None);
    let list = arena_list(&pattern(8 << 20), 8 << 20);
    let sending = bench.push(Op::Send { socket, list });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = bench.driver.add_listener(listener.into()).unwrap();
    let accepting = bench.push(Op::Accept { listener });
    bench.settle();
    for token in [receiving, sending, accepting] {
        assert!(!bench.is_done(token));
        bench.driver.cancel(token);
    }
    assert_eq!(
        os(&received(bench.wait(receiving)).0.unwrap_err()),
        libc::ECANCELED
    );
    assert_eq!(
        os(&sent(bench.wait(sending)).0.unwrap_err()),
        libc::ECANCELED
    );
    assert_eq!(
        os(&accepted(bench.wait(accepting)).unwrap_err()),
        libc::ECANCELED
    );
    // The socket still receives.
    let token = bench.recv(socket, None);
    peer.write_all(b"z").unwrap();
    assert_eq!(received(bench.wait(token)).0.unwrap(), b"z");
}

fn cancel_of_an_unknown_token_changes_nothing(mut bench: Bench) {
    let (socket, mut peer) = bench.connection();
    let token = bench.recv(socket, None);
    bench.driver.cancel(Token(u64::MAX));
    peer.write_all(b"z").unwrap();
    assert_eq!(received(bench.wait(token)).0.unwrap(), b"z");
    bench.driver.cancel(token);
    bench.settle();
    assert!(!bench.is_done(token), "what is over stays over");
}

fn close_completes_everything_in_flight_and_ends_the_connection(mut bench: Bench) {
    let (socket, mut peer) = bench.connection();
    let buffer = bench.buffer(4096);
    let receiving = bench.recv(
        socket,
        Some(Place::Buffer {
            buffer,
            range: 0..4096,
        }),
    );
    let list = arena_list(&pattern(8 << 20), 8 << 20);
    let sending = bench.push(Op::Send { socket, list });
    bench.settle();
    assert!(
        bench.driver.take_socket(socket).is_none(),
        "operations are in flight"
    );
    bench.driver.close_socket(socket);
    let (result, place) = received(bench.wait(receiving));
    assert!(result.is_err() || result.unwrap().is_empty());
    assert!(place.is_some(), "the place comes back");
    sent(bench.wait(sending)).0.unwrap_err();
    drop(place);
    assert_eq!(bench.slab.used_bytes(), 0);
    let mut rest = Vec::new();
    let _ = peer.read_to_end(&mut rest);
    assert!(rest.len() < 8 << 20);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let listener = bench.driver.add_listener(listener.into()).unwrap();
    let accepting = bench.push(Op::Accept { listener });
    bench.settle();
    bench.driver.close_socket(listener);
    assert_eq!(
        os(&accepted(bench.wait(accepting)).unwrap_err()),
        libc::ECANCELED
    );
    bench.settle();
    TcpStream::connect(address).expect_err("nobody listens any more");
}

fn close_of_an_idle_socket_ends_the_connection(mut bench: Bench) {
    let (socket, mut peer) = bench.connection();
    bench.driver.close_socket(socket);
    bench.settle();
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
}

fn take_socket_works_at_rest_only_and_the_stream_goes_on_elsewhere(mut bench: Bench) {
    let (socket, mut peer) = bench.connection();
    let token = bench.recv(socket, None);
    bench.settle();
    assert!(bench.driver.take_socket(socket).is_none());
    peer.write_all(b"one").unwrap();
    assert_eq!(received(bench.wait(token)).0.unwrap(), b"one");
    peer.write_all(b"two").unwrap();
    let fd = bench.driver.take_socket(socket).expect("at rest");
    assert!(bench.driver.take_socket(socket).is_none(), "taken once");
    // Unread bytes are found by the next driver, too.
    let mut other = Bench::new(match bench.driver.kind() {
        DriverKind::Uring => DriverChoice::Uring,
        _ => DriverChoice::Epoll,
    });
    let socket = other.driver.add_socket(fd).unwrap();
    assert_eq!(other.receive(socket).unwrap(), b"two");
}

fn accept_gives_connections_one_by_one_with_their_peers(mut bench: Bench) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let listener = bench.driver.add_listener(listener.into()).unwrap();
    let waiting = bench.push(Op::Accept { listener });
    bench.settle();
    assert!(!bench.is_done(waiting));
    let peers = (0..3)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect::<Vec<_>>();
    let mut token = waiting;
    for peer in &peers {
        let new = accepted(bench.wait(token)).unwrap();
        assert_eq!(new.peer, peer.local_addr().unwrap());
        let flags = rustix::fs::fcntl_getfl(&new.fd).unwrap();
        assert!(flags.contains(rustix::fs::OFlags::NONBLOCK));
        let socket = bench.driver.add_socket(new.fd).unwrap();
        (&*peer).write_all(b"hi").unwrap();
        assert_eq!(bench.receive(socket).unwrap(), b"hi");
        token = bench.push(Op::Accept { listener });
    }
    bench.settle();
    assert!(!bench.is_done(token), "nobody else has connected");
}

fn a_silent_peer_delays_nobody(mut bench: Bench) {
    let (silent, _kept) = bench.connection();
    let waiting = bench.recv(silent, None);
    let sending = bench.push(Op::Send {
        socket: silent,
        list: arena_list(&pattern(8 << 20), 8 << 20),
    });
    let (socket, mut peer) = bench.connection();
    for _ in 0..100 {
        peer.write_all(b"ping").unwrap();
        assert_eq!(bench.receive_all(socket, 4), b"ping");
        let token = bench.push(Op::Send {
            socket,
            list: arena_list(b"pong", 4),
        });
        sent(bench.wait(token)).0.unwrap();
        peer.read_exact(&mut [0; 4]).unwrap();
    }
    assert!(!bench.is_done(waiting) && !bench.is_done(sending));
}

fn many_connections_echo_at_once(mut bench: Bench) {
    let connections = (0..200).map(|_| bench.connection()).collect::<Vec<_>>();
    for round in 0_u32..20 {
        let mut tokens = Vec::new();
        for (socket, peer) in &connections {
            (&*peer).write_all(&round.to_be_bytes()).unwrap();
            tokens.push(bench.recv(*socket, None));
        }
        for ((socket, peer), token) in connections.iter().zip(tokens) {
            let got = received(bench.wait(token)).0.unwrap();
            assert_eq!(got, round.to_be_bytes());
            let token = bench.push(Op::Send {
                socket: *socket,
                list: arena_list(&got, 4),
            });
            sent(bench.wait(token)).0.unwrap();
            let mut echo = [0; 4];
            (&*peer).read_exact(&mut echo).unwrap();
            assert_eq!(echo, round.to_be_bytes());
        }
    }
}

fn waker_ends_a_turn_that_waits_for_ever(mut bench: Bench) {
    let waker = bench.driver.waker();
    waker.wake();
    assert!(!bench.turn(Wait::Forever), "a wake before the turn ends it");
    for _ in 0..20 {
        let thread = std::thread::spawn({
            let waker = waker.clone();
            move || waker.wake()
        });
        bench.turn(Wait::Forever);
        thread.join().unwrap();
        // The ring may have come after the turn had seen the wake: it must not be mistaken for the next one.
        bench.turn(Wait::Poll);
    }
}

fn turn_until_returns_with_nothing(mut bench: Bench) {
    assert!(!bench.turn(Wait::Until(Duration::from_millis(3))));
    assert!(!bench.turn(Wait::Until(Duration::ZERO)));
    assert!(!bench.turn(Wait::Poll));
}

fn idle_turns_give_memory_back_to_the_kernel(mut bench: Bench) {
    let mut all = std::iter::from_fn(|| bench.slab.allocate(1 << 20)).collect::<Vec<_>>();
    all.iter_mut().for_each(|buffer| buffer.fill(1));
    drop(all);
    assert!(bench.slab.has_idle_pages());
    let end = Instant::now() + PATIENCE;
    while bench.slab.has_idle_pages() {
        assert!(Instant::now() < end, "an idle worker keeps its memory");
        bench.turn(Wait::Forever);
    }
    assert_eq!(bench.slab.trim(), 0);
}

fn dropping_the_driver_with_operations_in_flight_gives_memory_back(mut bench: Bench) {
    let peers = (0..10).map(|_| {
        let (socket, peer) = bench.connection();
        let buffer = bench.buffer(4096);
        bench.recv(
            socket,
            Some(Place::Buffer {
                buffer,
                range: 0..4096,
            }),
        );
        let buffer = bench.frozen(&pattern(1 << 20));
        let pieces = (0..8).map(|_| SendPiece::Frozen {
            buffer: buffer.clone(),
            range: 0..1 << 20,
        });
        let list = Box::new(SendList {
            arena: Vec::new(),
            pieces: pieces.collect(),
        });
        bench.push(Op::Send { socket, list });
        peer
    });
    let _peers = peers.collect::<Vec<_>>();
    bench.settle();
    let slab = bench.slab.clone();
    assert!(slab.used_bytes() > 10 << 20);
    drop(bench);
    assert_eq!(slab.used_bytes(), 0);
}

/// Ends a connection by a reset rather than in good order.
fn reset(peer: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
    drop(peer);
}
