use proptest::prelude::*;

use super::*;
use crate::attribute::Writer;
use crate::pdu::FrameError;
use crate::registration::MonitorPorts;
use crate::registration::tests::{name, registration};

const PORTAL: &[(&str, u16)] = &[("192.0.2.1:3260", 1)];

/// A client with a server that the test plays, and a clock.
struct Bench {
    client: Client,
    now: Duration,
    server: Deframer,
    actions: Vec<&'static str>,
    events: Vec<Event>,
    asked: VecDeque<Message>,
}

impl Bench {
    fn new() -> Self {
        Self {
            client: Client::new(ClientConfig::default()),
            now: Duration::ZERO,
            server: Deframer::default(),
            actions: Vec::new(),
            events: Vec::new(),
            asked: VecDeque::new(),
        }
    }

    /// Connected, with this registration told.
    fn registered(wanted: &Registration) -> Self {
        let mut bench = Self::new();
        bench.want(Some(wanted.clone()));
        bench.client.connected(bench.now);
        bench.gather();
        bench.answer_all();
        let nodes = wanted.nodes.len();
        assert_eq!(bench.take_events(), [Event::Registered { nodes }]);
        bench.actions.clear();
        bench
    }

    fn want(&mut self, wanted: Option<Registration>) {
        self.client.want(self.now, wanted);
        self.gather();
    }

    fn gather(&mut self) {
        while let Some(action) = self.client.poll_action() {
            self.actions.push(match action {
                Action::Connect => "connect",
                Action::Close => "close",
                Action::Send(bytes) => {
                    self.server.push(&bytes);
                    while let Some(message) = self.server.next_message().expect("legal") {
                        self.asked.push_back(message);
                    }
                    "send"
                }
            });
        }
        self.events
            .extend(std::iter::from_fn(|| self.client.poll_event()));
    }

    fn receive(&mut self, message: &Message) {
        let mut bytes = Vec::new();
        message.emit(&mut bytes);
        self.client.handle_received(self.now, &bytes);
        self.gather();
    }

    /// Answers the oldest request.
    fn answer(&mut self, status: Status, attributes: &Writer) -> Message {
        let asked = self.asked.pop_front().expect("something was asked");
        let mut payload = status.0.to_be_bytes().to_vec();
        let mut rest = Writer::default();
        rest.empty(tag::DELIMITER);
        payload.extend(rest.into_bytes());
        payload.extend(attributes.clone().into_bytes());
        self.receive(&Message {
            function: asked.function | function::RESPONSE,
            transaction_id: asked.transaction_id,
            replace: false,
            payload,
        });
        asked
    }

    /// Answers all requests as a server does that knows everything; their functions.
    fn answer_all(&mut self) -> Vec<(u16, bool)> {
        let mut found = Writer::default();
        found.text(tag::ISCSI_NAME, "iqn.2026-11.org.example:a");
        let mut functions = Vec::new();
        while !self.asked.is_empty() {
            let asked = self.answer(Status::SUCCESSFUL, &found);
            functions.push((asked.function, asked.replace));
        }
        functions
    }

    /// Lets time pass to what is due next; how long that was.
    fn pass(&mut self) -> Duration {
        let due = self.client.poll_timeout().expect("something is due");
        let passed = due - self.now;
        self.now = due;
        self.client.handle_timeout(self.now);
        self.gather();
        passed
    }

    fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    fn take_actions(&mut self) -> Vec<&'static str> {
        std::mem::take(&mut self.actions)
    }
}

fn disks(names: &[&str]) -> Registration {
    let nodes: Vec<_> = names.iter().map(|name| (*name, PORTAL)).collect();
    registration(&nodes)
}

const REGISTER: (u16, bool) = (function::DEV_ATTR_REG, false);
const QUERY: (u16, bool) = (function::DEV_ATTR_QRY, false);
const DEREGISTER: (u16, bool) = (function::DEV_DEREG, false);
const SCN_REGISTER: (u16, bool) = (function::SCN_REG, false);

#[test]
fn first_registration_replaces_and_asks_for_changes_where_they_can_be_heard() {
    let mut wanted = disks(&["a", "b"]);
    for ports in wanted.portals.values_mut() {
        ports.scn = Some(4000);
    }
    let mut bench = Bench::new();
    bench.want(Some(wanted));
    assert_eq!(bench.take_actions(), ["connect"]);
    bench.client.connected(bench.now);
    bench.gather();
    let replacing = (function::DEV_ATTR_REG, true);
    assert_eq!(bench.answer_all(), [replacing, SCN_REGISTER, SCN_REGISTER]);
    assert_eq!(bench.take_events(), [Event::Registered { nodes: 2 }]);
}

#[test]
fn refresh_asks_in_time_and_a_server_that_forgot_is_told_anew() {
    let mut bench = Bench::registered(&disks(&["a"]));
    assert_eq!(
        bench.pass(),
        Duration::from_secs(20),
        "a third of the period"
    );
    assert_eq!(bench.answer_all(), [QUERY]);
    assert_eq!(bench.pass(), Duration::from_secs(20));
    bench.answer(Status::NO_SUCH_ENTRY, &Writer::default());
    assert_eq!(bench.answer_all(), [REGISTER]);
    let again = [Event::Forgotten, Event::Registered { nodes: 1 }];
    assert_eq!(bench.take_events(), again);
    bench.pass();
    bench.answer(Status::SUCCESSFUL, &Writer::default());
    assert_eq!(
        bench.answer_all(),
        [REGISTER],
        "found nothing is forgotten too"
    );
    assert_eq!(bench.take_events(), again);
}

#[test]
fn period_that_the_server_chose_counts() {
    let mut bench = Bench::new();
    bench.want(Some(disks(&["a"])));
    bench.client.connected(bench.now);
    bench.gather();
    let mut chosen = Writer::default();
    chosen.number(tag::REGISTRATION_PERIOD, 900);
    bench.answer(Status::SUCCESSFUL, &chosen);
    assert_eq!(bench.pass(), Duration::from_secs(300));
}

#[test]
fn change_tells_what_went_and_what_came_and_nothing_else() {
    let mut bench = Bench::registered(&disks(&["a", "b"]));
    bench.want(Some(disks(&["a", "b"])));
    assert!(bench.asked.is_empty(), "nothing changed");
    bench.want(Some(disks(&["b", "c"])));
    let gone = bench.answer(Status::SUCCESSFUL, &Writer::default());
    assert_eq!(gone.function, function::DEV_DEREG);
    let names = |message: &Message| {
        let attributes = Attributes::new(&message.payload).map_while(Result::ok);
        let names = attributes.filter(|one| one.tag == tag::ISCSI_NAME);
        names
            .filter_map(|one| one.text().map(str::to_owned))
            .collect::<Vec<_>>()
    };
    // Said by the one that stays.
    assert_eq!(names(&gone), [name("b"), name("a")].map(|n| n.to_string()));
    let came = bench.answer(Status::SUCCESSFUL, &Writer::default());
    assert_eq!((came.function, came.replace), REGISTER);
    assert_eq!(names(&came), [name("b"), name("c")].map(|n| n.to_string()));
    assert_eq!(bench.take_events(), [Event::Registered { nodes: 2 }]);
    // A change that comes while another is told waits for it.
    bench.want(Some(disks(&["b", "c", "d"])));
    bench.want(Some(disks(&["b", "c"])));
    assert_eq!(bench.answer_all(), [REGISTER, DEREGISTER, REGISTER]);
}

#[test]
fn nothing_wanted_deregisters_and_closes() {
    for nothing in [None, Some(disks(&[]))] {
        let mut bench = Bench::registered(&disks(&["a"]));
        bench.want(nothing);
        assert!(!bench.client.is_idle());
        assert_eq!(bench.answer_all(), [DEREGISTER]);
        assert_eq!(bench.take_events(), [Event::Deregistered]);
        assert_eq!(bench.take_actions(), ["send", "close"]);
        assert!(bench.client.is_idle());
        assert_eq!(bench.client.poll_timeout(), None);
    }
}

#[test]
fn nothing_wanted_while_there_is_no_connection_is_the_end_at_once() {
    let mut bench = Bench::new();
    bench.want(Some(disks(&["a"])));
    bench.want(None);
    assert_eq!(bench.take_actions(), ["connect", "close"]);
    assert!(bench.client.is_idle());
}

#[test]
fn failures_pause_ever_longer_and_a_success_ends_that() {
    let mut bench = Bench::new();
    bench.want(Some(disks(&["a"])));
    let seconds = |n| Duration::from_secs(n);
    for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
        bench.client.disconnected(bench.now);
        bench.gather();
        assert_eq!(bench.take_actions(), ["connect", "close"]);
        assert_eq!(bench.take_events(), [Event::Failed(Problem::Connection)]);
        assert_eq!(bench.pass(), seconds(pause));
    }
    // Neither a connection nor a response is waited for without end.
    assert_eq!(bench.pass(), seconds(10));
    assert_eq!(bench.take_events(), [Event::Failed(Problem::Connection)]);
    bench.pass();
    bench.client.connected(bench.now);
    bench.gather();
    assert_eq!(bench.pass(), seconds(10));
    assert_eq!(bench.take_events(), [Event::Failed(Problem::Silence)]);
    bench.asked.clear();
    bench.server = Deframer::default();
    bench.pass();
    bench.client.connected(bench.now);
    bench.gather();
    bench.answer(Status(12), &Writer::default());
    let busy = Problem::Registration(Status(12));
    assert_eq!(bench.take_events(), [Event::Failed(busy)]);
    bench.pass();
    bench.client.connected(bench.now);
    bench.gather();
    bench.answer_all();
    assert_eq!(bench.take_events(), [Event::Registered { nodes: 1 }]);
    bench.client.disconnected(bench.now);
    bench.gather();
    assert_eq!(bench.pass(), seconds(1));
}

#[test]
fn lost_connection_tells_everything_anew_and_replaces_nothing() {
    let mut bench = Bench::registered(&disks(&["a", "b"]));
    bench.client.disconnected(bench.now);
    bench.want(Some(disks(&["b"])));
    bench.pass();
    bench.client.connected(bench.now);
    bench.gather();
    assert_eq!(bench.answer_all(), [DEREGISTER, REGISTER]);
}

#[test]
fn server_that_does_not_inquire_is_not_asked_to() {
    let mut wanted = disks(&["a"]);
    wanted.esi_interval_seconds = 30;
    let monitored = MonitorPorts {
        esi: Some(4000),
        scn: None,
    };
    wanted
        .portals
        .values_mut()
        .for_each(|ports| *ports = monitored);
    let mut bench = Bench::new();
    bench.want(Some(wanted));
    bench.client.connected(bench.now);
    bench.gather();
    let interval = |message: &Message| {
        let mut attributes = Attributes::new(&message.payload).map_while(Result::ok);
        attributes.any(|one| one.tag == tag::ESI_INTERVAL)
    };
    let first = bench.answer(Status::ESI_NOT_AVAILABLE, &Writer::default());
    assert!(interval(&first));
    let second = bench.answer(Status::SUCCESSFUL, &Writer::default());
    assert!(!interval(&second));
    let told = [
        Event::Failed(Problem::Inquiries),
        Event::Registered { nodes: 1 },
    ];
    assert_eq!(bench.take_events(), told);
}

#[test]
fn refused_notifications_and_deregistrations_do_not_end_the_registration() {
    let mut wanted = disks(&["a", "b"]);
    wanted
        .portals
        .values_mut()
        .for_each(|ports| ports.scn = Some(4000));
    let mut bench = Bench::new();
    bench.want(Some(wanted));
    bench.client.connected(bench.now);
    bench.gather();
    bench.answer(Status::SUCCESSFUL, &Writer::default());
    let rejected = Status::SCN_REGISTRATION_REJECTED;
    bench.answer(rejected, &Writer::default());
    assert!(
        bench.asked.is_empty(),
        "it is asked once, not for each node"
    );
    let problem = Problem::Notifications(rejected);
    let told = [Event::Failed(problem), Event::Registered { nodes: 2 }];
    assert_eq!(bench.take_events(), told);

    bench.want(Some(disks(&["a"])));
    bench.answer(Status(22), &Writer::default());
    bench.answer_all();
    let problem = Problem::Deregistration(Status(22));
    let told = [Event::Failed(problem), Event::Registered { nodes: 1 }];
    assert_eq!(bench.take_events(), told);
}

#[test]
fn inquiry_on_the_connection_is_answered_between_request_and_response() {
    let mut bench = Bench::registered(&disks(&["a"]));
    bench.pass();
    let mut payload = Writer::default();
    payload
        .value(tag::TIMESTAMP, &[0; 8])
        .text(tag::ENTITY_IDENTIFIER, "san.example.org");
    bench.receive(&Message {
        function: function::ESI,
        transaction_id: 99,
        replace: false,
        payload: payload.into_bytes(),
    });
    let reply = bench.asked.pop_back().expect("a reply");
    assert_eq!((reply.function, reply.transaction_id), (0x800d, 99));
    assert_eq!(bench.answer_all(), [QUERY]);
    assert!(bench.take_events().is_empty());
}

#[test]
fn notification_that_a_target_of_ours_went_is_looked_into() {
    let mut bench = Bench::registered(&disks(&["a", "b"]));
    let notification = |node: &str, change| Notification {
        node: name(node).to_string(),
        change,
    };
    bench
        .client
        .notified(bench.now, vec![notification("host", Change::Removed)]);
    bench.gather();
    assert!(
        bench.asked.is_empty(),
        "an initiator's coming and going is no task of ours"
    );
    bench
        .client
        .notified(bench.now, vec![notification("b", Change::Removed)]);
    bench.gather();
    bench.answer(Status::SUCCESSFUL, &Writer::default());
    assert_eq!(bench.answer_all(), [REGISTER]);
    assert_eq!(
        bench.take_events().last(),
        Some(&Event::Registered { nodes: 2 })
    );
}

#[test]
fn response_that_was_not_asked_for_is_dropped() {
    let mut bench = Bench::registered(&disks(&["a"]));
    bench.pass();
    let asked = bench.asked[0].clone();
    for (function, transaction_id) in [
        (function::DEV_ATTR_QRY, asked.transaction_id.wrapping_add(1)),
        (function::DEV_DEREG, asked.transaction_id),
    ] {
        bench.receive(&Message {
            function: function | function::RESPONSE,
            transaction_id,
            replace: false,
            payload: vec![0, 0, 0, 9],
        });
    }
    assert!(bench.take_events().is_empty());
    assert_eq!(bench.answer_all(), [QUERY]);
}

#[test]
fn bytes_that_are_not_isns_end_the_connection() {
    let mut bench = Bench::registered(&disks(&["a"]));
    bench
        .client
        .handle_received(bench.now, b"HTTP/1.1 400 Bad Request\r\n");
    bench.gather();
    let Some(Event::Failed(Problem::Frame(FrameError::Version(_)))) = bench.take_events().pop()
    else {
        panic!("it was taken");
    };
    assert_eq!(bench.take_actions(), ["close"]);
}

proptest! {
    #[test]
    fn hostile_server_never_panics_and_something_is_always_due(
        pieces: Vec<Vec<u8>>,
        responses: Vec<(u16, u16, Vec<u8>)>,
    ) {
        let mut bench = Bench::registered(&disks(&["a"]));
        bench.pass();
        for (function, transaction_id, mut payload) in responses {
            payload.resize(payload.len().next_multiple_of(4), 0);
            let transaction_id = transaction_id % 8;
            bench.receive(&Message {
                function: (function % 16) | (function & 0x8000),
                transaction_id,
                replace: false,
                payload,
            });
        }
        for piece in pieces {
            bench.client.handle_received(bench.now, &piece);
            bench.gather();
        }
        prop_assert!(bench.client.poll_timeout().is_some());
    }
}
