//! The iSNS client's thread and sockets against a server that the test plays. (A real one: `tests/interop/tests/isns.rs`.)

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use daemon::isns::IsnsClient;
use isns::{Attributes, Deframer, Message, Writer, function, tag};
use model::{Change, ObjectPath, Raw, Tree};

/// What takes longer counts as a hang.
const PATIENCE: Duration = Duration::from_secs(30);

const DISK: &str = "iqn.2026-11.org.example:disk";

fn tree(server: SocketAddr, portal: &str) -> Tree {
    let path = |text: &str| -> ObjectPath { text.parse().expect("a path") };
    let target = format!("/targets/{DISK}");
    let changes = [
        Change::set(
            ObjectPath::Daemon,
            [
                ("isns.server", Raw::from(server.to_string())),
                ("isns.entity", "san1.example.org".into()),
                ("isns.esi_interval_s", 30.into()),
            ],
        ),
        Change::create(path(&target), []),
        Change::create(path(&format!("{target}/tpgs/1")), []),
        Change::create(path(&format!("{target}/tpgs/1/portals/{portal}")), []),
    ];
    Tree::default().plan(&changes).expect("legal").tree
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// One connection of the client's, as its server sees it.
struct Conversation {
    stream: TcpStream,
    deframer: Deframer,
}

impl Conversation {
    fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = listener.accept().expect("the client connects");
        Self::new(stream)
    }

    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        Self {
            stream,
            deframer: Deframer::default(),
        }
    }

    /// The next message; `None` where the connection is closed.
    fn next(&mut self) -> Option<Message> {
        let mut bytes = [0; 4096];
        loop {
            if let Some(message) = self.deframer.next_message().expect("legal") {
                return Some(message);
            }
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(read) => self.deframer.push(&bytes[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn send(&mut self, message: &Message) {
        let mut bytes = Vec::new();
        message.emit(&mut bytes);
        self.stream.write_all(&bytes).expect("it is taken");
    }

    /// Takes requests, and answers each as successful, until one has this function.
    fn answer_until(&mut self, function: u16) -> Message {
        loop {
            let asked = self.next().expect("the connection stays");
            self.send(&Message {
                function: asked.function | function::RESPONSE,
                transaction_id: asked.transaction_id,
                replace: false,
                payload: vec![0; 4],
            });
            if asked.function == function {
                return asked;
            }
        }
    }
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

fn number(message: &Message, wanted: u32) -> Option<u32> {
    let mut attributes = Attributes::new(&message.payload).map_while(Result::ok);
    attributes.find(|one| one.tag == wanted)?.number()
}

#[test]
fn client_registers_answers_inquiries_and_takes_its_registration_back() {
    let (listener, server) = listen();
    let client = IsnsClient::default();
    client.configure(&tree(server, "127.0.0.1:3260"));
    let mut conversation = Conversation::accept(&listener);
    let asked = conversation.answer_until(function::DEV_ATTR_REG);
    assert!(asked.replace);
    assert_eq!(number(&asked, tag::PORTAL_PORT), Some(3260));
    assert_eq!(number(&asked, tag::ESI_INTERVAL), Some(30));
    conversation.answer_until(function::SCN_REG);
    until("registered", || client.registered() == 1);

    // The server inquires at the port that it was told, and only the server may.
    let port = number(&asked, tag::ESI_PORT).and_then(|port| u16::try_from(port).ok());
    let port = port.expect("a port to inquire at");
    let mut payload = Writer::default();
    payload.text(tag::ENTITY_IDENTIFIER, "san1.example.org");
    let inquiry = Message {
        function: function::ESI,
        transaction_id: 77,
        replace: false,
        payload: payload.into_bytes(),
    };
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
    let mut monitor = Conversation::new(stream);
    monitor.send(&inquiry);
    let reply = monitor.next().expect("an answer");
    assert_eq!((reply.function, reply.transaction_id), (0x800d, 77));
    assert_eq!(reply.payload[..4], [0; 4]);
    let mut stranger = Conversation::new(connect_from([127, 0, 0, 2].into(), port));
    // It may be closed before the inquiry is sent.
    let mut bytes = Vec::new();
    inquiry.emit(&mut bytes);
    let _sent = stranger.stream.write_all(&bytes);
    assert_eq!(stranger.next(), None);

    let ends = std::thread::spawn(move || drop(client));
    conversation.answer_until(function::DEV_DEREG);
    assert_eq!(conversation.next(), None);
    ends.join().expect("it ends");
}

/// A connection to a port of loopback from another address of it.
fn connect_from(from: Ipv4Addr, port: u16) -> TcpStream {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &SocketAddr::from((from, 0))).expect("an address of loopback");
    connect(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, port))).expect("it listens");
    socket.into()
}

#[test]
fn server_that_talks_nonsense_or_hangs_up_is_tried_again() {
    let (listener, server) = listen();
    let client = IsnsClient::default();
    client.configure(&tree(server, "127.0.0.1:3260"));
    let mut garbled = Conversation::accept(&listener);
    garbled
        .stream
        .write_all(b"SSH-2.0-OpenSSH\r\n")
        .expect("sent");
    drop(Conversation::accept(&listener));
    Conversation::accept(&listener).answer_until(function::DEV_ATTR_REG);
    assert_eq!(client.registered(), 0);
}

#[test]
fn tree_with_nothing_for_this_server_does_not_connect_over_and_over() {
    let (listener, server) = listen();
    let client = IsnsClient::default();
    // A portal at every IPv6 address, and a server that is reached over IPv4.
    let useless = tree(server, "[::]:3260");
    client.configure(&useless);
    assert_eq!(Conversation::accept(&listener).next(), None);
    assert_eq!(client.registered(), 0);
    // What comes next comes for a tree that has something.
    let portal = format!("/targets/{DISK}/tpgs/1/portals/127.0.0.1:3260");
    let change = Change::create(portal.parse().expect("a path"), []);
    client.configure(&useless.plan(&[change]).expect("legal").tree);
    Conversation::accept(&listener).answer_until(function::DEV_ATTR_REG);
}

#[test]
fn end_without_a_server_that_answers_comes_soon() {
    let (listener, server) = listen();
    let client = IsnsClient::default();
    client.configure(&tree(server, "127.0.0.1:3260"));
    let _silent = Conversation::accept(&listener);
    let start = Instant::now();
    drop(client);
    assert!(start.elapsed() < Duration::from_secs(10));
}
