//! A connection that is logging in: negotiation without locks, questions to the tree and the authenticator, then the commit.

use std::net::SocketAddr;
use std::time::Duration;

use auth::{Answer, Policy, Reply, Verdict};
use iscsi_proto::login::{
    CommitRequest, Login, LoginConfig, LoginEvent, LoginIdentity, LoginLimits, SessionType,
    TargetOffer,
};
use iscsi_proto::negotiate::{DigestChoice, OfferedParams};
use iscsi_wire::{IscsiName, LoginStatus, Tsih};
use model::{Admission, Digests, Rule, SessionSettings};
use reactor::{Op, RecvInto, SendPiece, SocketId};

use super::cx::{Cx, Kind, token};
use crate::observe::RefusedLogin;
use crate::panics::guard;
use crate::registry::{Claim, ClaimEvent, ClaimOutcome, NexusKey};
use crate::shared::{Admitted, Message, Place, Shared, WorkerId, World};
use crate::slots::Key;

/// A discovery session takes one request at a time.
const DISCOVERY_QUEUE_DEPTH: u16 = 4;

pub(super) struct LoginLink {
    pub(super) key: Key,
    pub(super) socket: SocketId,
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
    proto: Login,
    /// Received, and not yet parsed: the login waits for an answer first.
    unread: Vec<u8>,
    receiving: bool,
    sending: bool,
    /// The login is over: the connection closes when its last response is sent.
    closing: bool,
    out: Vec<u8>,
    admitted: Option<Admitted>,
    commit: Option<Commit>,
    /// Ready to commit once the response that is under way has been sent: a connection moves only at rest.
    parked: Option<CommitRequest>,
    deadline: Duration,
    closed: bool,
    became_session: bool,
    /// Who it says it is.
    identity: Option<LoginIdentity>,
    /// The ACL that its authenticator named to serve it by.
    named: Option<IscsiName>,
}

/// A login that has a claim on its nexus, and waits for the session before it to end.
struct Commit {
    request: CommitRequest,
    claim: Claim,
    deadline: Duration,
}

/// What a login became.
pub(super) enum Fate {
    /// It goes on.
    Goes,
    /// Its link can be removed: the connection is closed, or has moved on.
    Over,
    /// It is a session now, on this worker or another.
    Session(Box<Become>),
}

/// A login that became a session.
pub(super) struct Become {
    pub(super) worker: WorkerId,
    pub(super) session: crate::shared::SessionId,
    pub(super) established: iscsi_proto::login::Established,
    pub(super) place: Place,
    pub(super) unread: Vec<u8>,
    pub(super) socket: SocketId,
}

impl LoginLink {
    pub(super) fn new(
        key: Key,
        socket: SocketId,
        (local, peer): (SocketAddr, SocketAddr),
        random: [u8; 64],
        cx: &mut Cx,
    ) -> Self {
        let deadline = cx.now.saturating_add(cx.shared.config.login_timeout);
        let config = LoginConfig {
            portal: local,
            peer,
            limits: LoginLimits::default(),
            deadline,
        };
        cx.timers.insert(deadline, key);
        let mut link = Self {
            key,
            socket,
            local,
            peer,
            proto: Login::new(config, cx.now, random),
            unread: Vec::new(),
            receiving: false,
            sending: false,
            closing: false,
            out: Vec::new(),
            admitted: None,
            commit: None,
            parked: None,
            deadline,
            closed: false,
            became_session: false,
            identity: None,
            named: None,
        };
        link.arm(cx);
        link
    }

    /// One receive at a time, and none while a question is open: so the connection is at rest when it moves.
    fn arm(&mut self, cx: &mut Cx) {
        let waits = self.commit.is_some() || self.parked.is_some();
        if !self.receiving && !self.closing && !self.closed && !waits {
            self.receiving = true;
            let into = RecvInto::default();
            cx.driver.push(
                Op::Recv {
                    socket: self.socket,
                    into,
                },
                token(Kind::Recv, self.key),
            );
        }
    }

    pub(super) fn received(&mut self, bytes: Option<&[u8]>, cx: &mut Cx) -> Fate {
        self.receiving = false;
        match bytes {
            Some(bytes) => {
                self.unread.extend_from_slice(bytes);
                self.advance(cx)
            }
            None => self.close(cx),
        }
    }

    pub(super) fn sent(&mut self, ok: bool, cx: &mut Cx) -> Fate {
        self.sending = false;
        if !ok || (self.closing && self.out.is_empty()) {
            return self.close(cx);
        }
        if let Some(request) = self.parked.take() {
            let fate = self.claim(request, cx);
            return self.after_commit(fate, cx);
        }
        self.transmit(cx);
        self.look()
    }

    /// Parses what has come, and answers what the login asks, until it waits for something.
    fn advance(&mut self, cx: &mut Cx) -> Fate {
        let mut unread = std::mem::take(&mut self.unread);
        let mut at = 0;
        loop {
            let rest = unread.get(at..).unwrap_or_default();
            let proto = &mut self.proto;
            let Ok(consumed) = guard(|| proto.handle_received(cx.now, rest)) else {
                cx.counters.panics.add(1);
                return self.close(cx);
            };
            at += consumed;
            let mut acted = false;
            while let Some(event) = self.proto.poll_event() {
                acted = true;
                match self.event(event, cx) {
                    Fate::Goes => {}
                    fate => {
                        unread.drain(..at.min(unread.len()));
                        self.unread = unread;
                        return self.with_unread(fate);
                    }
                }
            }
            let waits = self.commit.is_some() || self.parked.is_some();
            if (consumed == 0 && !acted) || self.closing || waits {
                break;
            }
        }
        unread.drain(..at.min(unread.len()));
        self.unread = unread;
        self.transmit(cx);
        self.arm(cx);
        self.look()
    }

    fn with_unread(&mut self, fate: Fate) -> Fate {
        match fate {
            Fate::Session(mut session) => {
                session.unread = std::mem::take(&mut self.unread);
                Fate::Session(session)
            }
            other => other,
        }
    }

    fn transmit(&mut self, cx: &mut Cx) {
        let (proto, out) = (&mut self.proto, &mut self.out);
        if guard(|| proto.poll_transmit(out)).is_err() {
            cx.counters.panics.add(1);
            self.closing = true;
            self.out.clear();
        }
        if self.sending || self.closed {
            return;
        }
        if self.out.is_empty() {
            if self.closing {
                self.close(cx);
            }
            return;
        }
        let mut list = cx.list();
        list.arena.append(&mut self.out);
        let end = u32::try_from(list.arena.len()).unwrap_or(u32::MAX);
        list.pieces.push(SendPiece::Arena(0..end));
        self.sending = true;
        cx.driver.push(
            Op::Send {
                socket: self.socket,
                list,
            },
            token(Kind::Send, self.key),
        );
    }

    fn event(&mut self, event: LoginEvent, cx: &mut Cx) -> Fate {
        match event {
            LoginEvent::Resolve(identity) => {
                let answer = self.resolve(&identity, cx);
                if let Err(why) = &answer {
                    self.log_refusal(&identity, why, cx);
                }
                self.identity = Some(identity);
                self.proto.resolved(answer.map_err(|why| why.status));
            }
            LoginEvent::Policy(request) => {
                let world = cx.shared.world.load_full();
                let (to, login) = (self.mailbox(cx), self.key);
                let reply = Reply::new(move |answer: Option<Policy>| {
                    let _gone = to.send(Message::Policy { login, answer });
                });
                if let Answer::Now(policy) = world.authenticator.policy(&request, reply) {
                    self.policy(Some(policy), cx);
                }
            }
            LoginEvent::Verify(request) => {
                let world = cx.shared.world.load_full();
                let (to, login) = (self.mailbox(cx), self.key);
                let reply = Reply::new(move |answer: Option<Verdict>| {
                    let _gone = to.send(Message::Verdict { login, answer });
                });
                if let Answer::Now(verdict) = world.authenticator.verify(&request, reply) {
                    self.verdict(Some(verdict), cx);
                }
            }
            LoginEvent::Commit(request) if self.sending => self.parked = Some(request),
            LoginEvent::Commit(request) => return self.claim(request, cx),
            LoginEvent::Close => self.closing = true,
        }
        Fate::Goes
    }

    fn mailbox(&self, cx: &Cx) -> reactor::mailbox::Sender<Message> {
        cx.shared.mailboxes[usize::from(cx.id.0)].clone()
    }

    fn verdict(&mut self, verdict: Option<Verdict>, cx: &Cx) {
        let refusal = match &verdict {
            Some(Verdict::Deny(reason)) => Some(*reason),
            None => Some(auth::Refusal::Unavailable),
            Some(Verdict::Allow { acl, .. }) => {
                self.named.clone_from(acl);
                None
            }
        };
        self.log_denial(refusal, cx);
        self.proto.verdict_is(verdict);
    }

    fn policy(&mut self, policy: Option<Policy>, cx: &Cx) {
        let refusal = match &policy {
            Some(Policy::Deny(reason)) => Some(*reason),
            None => Some(auth::Refusal::Unavailable),
            Some(_) => None,
        };
        self.log_denial(refusal, cx);
        self.proto.policy_is(policy);
    }

    /// Tells the operator, where the authenticator said no.
    fn log_denial(&self, refusal: Option<auth::Refusal>, cx: &Cx) {
        let (Some(refusal), Some(identity)) = (refusal, &self.identity) else {
            return;
        };
        let status = match refusal {
            auth::Refusal::Unavailable => LoginStatus::SERVICE_UNAVAILABLE,
            _ => LoginStatus::AUTHENTICATION_FAILURE,
        };
        let why = Why {
            status,
            rule: "authentication",
            text: refusal.text(),
        };
        self.log_refusal(identity, &why, cx);
    }

    pub(super) fn policy_answer(&mut self, answer: Option<Policy>, cx: &mut Cx) -> Fate {
        self.policy(answer, cx);
        self.advance(cx)
    }

    pub(super) fn verdict_answer(&mut self, answer: Option<Verdict>, cx: &mut Cx) -> Fate {
        self.verdict(answer, cx);
        self.advance(cx)
    }

    fn resolve(&mut self, identity: &LoginIdentity, cx: &Cx) -> Result<TargetOffer, Why> {
        if cx.shared.is_draining() {
            return Err(Why::DRAINING);
        }
        let world = cx.shared.world.load();
        if identity.session_type == SessionType::Discovery {
            return Ok(TargetOffer {
                portal_group_tag: 0,
                target_alias: None,
                params: offered(&SessionSettings::default()),
            });
        }
        let admission = admission(&world, identity, self.local)?;
        if identity.tsih != Tsih(0) {
            return Err(self.resolve_existing(identity, &admission, &world));
        }
        self.admitted = Some(Admitted::by(&admission, &world.tree));
        Ok(TargetOffer {
            portal_group_tag: admission.group.tag,
            target_alias: admission.target.alias().map(str::to_owned),
            params: offered(&admission.group.settings(admission.acl.as_deref())),
        })
    }

    /// A TSIH that is not zero asks to join a session (RFC 7143 §6.3.1). With MaxConnections 1 none can be joined.
    fn resolve_existing(
        &self,
        identity: &LoginIdentity,
        admission: &Admission,
        world: &World,
    ) -> Why {
        let group = world.groups.get(&admission.group.id);
        match group.and_then(|group| group.registry.find(identity.tsih)) {
            Some((nexus, _)) if nexus == nexus_key(identity) => Why {
                status: LoginStatus::TOO_MANY_CONNECTIONS,
                rule: "max_connections",
                text: "the session has as many connections as it may",
            },
            // RFC 7143 §6.3.1: another nexus' session is not this initiator's to join.
            _ => Why {
                status: LoginStatus::SESSION_DOES_NOT_EXIST,
                rule: "no_session",
                text: "the session that it asks to join is not there",
            },
        }
    }

    fn log_refusal(&self, identity: &LoginIdentity, why: &Why, cx: &Cx) {
        cx.counters.logins_refused.add(1);
        if let Some(observer) = &cx.shared.config.observer {
            observer.login_refused(RefusedLogin {
                local: self.local,
                peer: self.peer,
                initiator: identity.initiator_name.clone(),
                target: identity.target_name.clone(),
                status: why.status,
                rule: why.rule,
                text: why.text.to_owned(),
            });
        }
        if !cx.may_log_peer() {
            return;
        }
        let target = identity
            .target_name
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::warn!(
            peer = %self.peer,
            initiator = %identity.initiator_name,
            %target,
            status = ?why.status,
            rule = why.rule,
            "login refused: {}",
            why.text
        );
    }

    /// The commit: what was found must still stand, and the nexus must be ours.
    fn claim(&mut self, request: CommitRequest, cx: &mut Cx) -> Fate {
        if request.identity.session_type == SessionType::Discovery {
            let tsih = cx.shared.discovery_tsih();
            return self.become_session(tsih, self.discovery_place(), cx);
        }
        let place = match self.place(&request.identity, cx) {
            Ok(place) => place,
            Err(why) => return self.refuse(&why, &request.identity, cx),
        };
        let Some(group) = place.group.clone() else {
            return self.refuse(&Why::CHANGED, &request.identity, cx);
        };
        let nexus = nexus_key(&request.identity);
        let (to, login) = (self.mailbox(cx), self.key);
        let notify = move |event: ClaimEvent| {
            let _gone = to.send(Message::Claim { login, event });
        };
        match group.registry.claim(nexus, notify) {
            ClaimOutcome::Granted(claim) => self.granted(&request, claim, cx),
            ClaimOutcome::Waits { claim, end } => {
                let deadline = cx
                    .now
                    .saturating_add(cx.shared.config.reinstatement_timeout);
                cx.timers.insert(deadline, self.key);
                self.commit = Some(Commit {
                    request,
                    claim,
                    deadline,
                });
                if let Some(old) = end {
                    cx.send(WorkerId(old.worker), Message::Replace(old.session()));
                }
                Fate::Goes
            }
            ClaimOutcome::Closed => self.refuse(&Why::CHANGED, &request.identity, cx),
        }
    }

    pub(super) fn claim_event(&mut self, event: ClaimEvent, cx: &mut Cx) -> Fate {
        let Some(commit) = self.commit.take() else {
            return Fate::Goes;
        };
        match event {
            ClaimEvent::Ready => {
                let fate = self.granted(&commit.request, commit.claim, cx);
                self.after_commit(fate, cx)
            }
            // A newer login of the nexus has taken over: this connection is dropped unanswered.
            ClaimEvent::Superseded => self.close(cx),
            ClaimEvent::Cancelled => {
                let fate = self.refuse(&Why::CHANGED, &commit.request.identity, cx);
                self.after_commit(fate, cx)
            }
        }
    }

    /// A commit that did not become a session was refused: the refusal goes out, and the connection closes.
    fn after_commit(&mut self, fate: Fate, cx: &mut Cx) -> Fate {
        match fate {
            Fate::Goes => self.advance(cx),
            fate => self.with_unread(fate),
        }
    }

    /// The nexus is ours. The session is made live by the worker it lives on, once that knows it: whoever wants it ended
    /// from then on finds it there.
    fn granted(&mut self, request: &CommitRequest, claim: Claim, cx: &mut Cx) -> Fate {
        // The world may have changed while the login waited.
        match self.place(&request.identity, cx) {
            Ok(place) => {
                let tsih = claim.tsih();
                let claim = Some(claim);
                self.become_session(tsih, Place { claim, ..place }, cx)
            }
            Err(why) => {
                drop(claim);
                self.refuse(&why, &request.identity, cx)
            }
        }
    }

    fn become_session(&mut self, tsih: Tsih, place: Place, cx: &mut Cx) -> Fate {
        let (worker, session) = (cx.shared.place_session(cx.id), cx.shared.new_session_id());
        let mut established = self.proto.commit(tsih);
        // Responses that came before the last one and have not been sent yet go before it.
        if !self.out.is_empty() {
            let earlier = std::mem::take(&mut self.out);
            for last in [&mut established.final_response, &mut established.refusal] {
                last.splice(0..0, earlier.iter().copied());
            }
        }
        cx.counters.logins_accepted.add(1);
        self.closed = true;
        self.became_session = true;
        Fate::Session(Box::new(Become {
            worker,
            session,
            established,
            place,
            unread: Vec::new(),
            socket: self.socket,
        }))
    }

    fn refuse(&mut self, why: &Why, identity: &LoginIdentity, cx: &Cx) -> Fate {
        self.log_refusal(identity, why, cx);
        self.proto.refuse(why.status);
        Fate::Goes
    }

    /// Admits once more, by the tree as it is now, and finds what the session will work with.
    fn place(&self, identity: &LoginIdentity, cx: &Cx) -> Result<Place, Why> {
        if cx.shared.is_draining() {
            return Err(Why::DRAINING);
        }
        let world = cx.shared.world.load();
        let admission = admission(&world, identity, self.local).map_err(|_| Why::CHANGED)?;
        let admitted = Admitted::by(&admission, &world.tree);
        if self.admitted.as_ref() != Some(&admitted) {
            // Another object of the same name, or another policy: start again.
            return Err(Why::CHANGED);
        }
        let served = admission.served_by(self.named.as_ref());
        let admission = served.map_err(|refusal| Why::by(refusal.0))?;
        Ok(Place {
            group: world.groups.get(&admission.group.id).cloned(),
            admitted: Some(admitted),
            named: self.named.clone(),
            acl: admission.acl.as_ref().map(|acl| acl.id),
            generation: world.tree.generation,
            queue_depth: admission
                .group
                .settings(admission.acl.as_deref())
                .queue_depth,
            relative_target_port: admission.group.relative_target_port(),
            luns: world.luns(&admission.group, admission.acl.as_deref()),
            local: self.local,
            peer: self.peer,
            claim: None,
        })
    }

    fn discovery_place(&self) -> Place {
        Place {
            group: None,
            admitted: None,
            named: None,
            acl: None,
            generation: 0,
            queue_depth: DISCOVERY_QUEUE_DEPTH,
            relative_target_port: 0,
            luns: Vec::new().into(),
            local: self.local,
            peer: self.peer,
            claim: None,
        }
    }

    pub(super) fn timer_due(&mut self, cx: &mut Cx) -> Fate {
        if self.closed {
            return self.look();
        }
        if let Some(commit) = self.commit.take_if(|c| c.deadline <= cx.now) {
            // The old session's I/O has not left in time. Initiators try again after this status.
            drop(commit.claim);
            let _goes = self.refuse(&Why::OLD_SESSION, &commit.request.identity, cx);
            return self.advance(cx);
        }
        if self.deadline <= cx.now && self.commit.is_none() {
            tracing::info!(peer = %self.peer, "login timed out");
            return self.close(cx);
        }
        Fate::Goes
    }

    /// Gives the connection up.
    pub(super) fn close(&mut self, cx: &mut Cx) -> Fate {
        if let Some(commit) = self.commit.take() {
            drop(commit.claim);
        }
        if !self.closed {
            self.closed = true;
            cx.driver.close_socket(self.socket);
        }
        self.look()
    }

    /// Over once the driver has nothing of it any more.
    fn look(&self) -> Fate {
        if self.closed && !self.receiving && !self.sending {
            Fate::Over
        } else {
            Fate::Goes
        }
    }

    /// Whether its connection went on as a session.
    pub(super) fn became_session(&self) -> bool {
        self.became_session
    }

    /// Whether the driver still has an operation of it.
    pub(super) fn in_flight(&self) -> bool {
        self.receiving || self.sending
    }
}

/// Why a login is refused: what the initiator is told, and what the operator is.
struct Why {
    status: LoginStatus,
    rule: &'static str,
    text: &'static str,
}

impl Why {
    const DRAINING: Self = Self {
        status: LoginStatus::SERVICE_UNAVAILABLE,
        rule: "draining",
        text: "the daemon is shutting down",
    };
    const CHANGED: Self = Self {
        status: LoginStatus::SERVICE_UNAVAILABLE,
        rule: "changed",
        text: "what it was admitted by changed while it logged in; trying again decides anew",
    };
    const OLD_SESSION: Self = Self {
        status: LoginStatus::SERVICE_UNAVAILABLE,
        rule: "reinstatement",
        text: "the session that it replaces still waits for a backstore",
    };
    const NO_TARGET: Self = Self {
        status: LoginStatus::MISSING_PARAMETER,
        rule: "no_target_name",
        text: "it names no target",
    };

    /// The status for each rule: class 02h only for what an operator must change.
    fn by(rule: Rule) -> Self {
        let status = match rule {
            Rule::UnknownTarget | Rule::NoPortal => LoginStatus::NOT_FOUND,
            Rule::NoAcl => LoginStatus::AUTHORIZATION_FAILURE,
            _ => LoginStatus::SERVICE_UNAVAILABLE,
        };
        Self {
            status,
            rule: rule.as_str(),
            text: rule.text(),
        }
    }
}

fn admission(world: &World, identity: &LoginIdentity, local: SocketAddr) -> Result<Admission, Why> {
    let target = identity.target_name.as_ref().ok_or(Why::NO_TARGET)?;
    model::admit(&world.tree, &identity.initiator_name, target, local)
        .map_err(|refusal| Why::by(refusal.0))
}

fn nexus_key(identity: &LoginIdentity) -> NexusKey {
    NexusKey {
        initiator: identity.initiator_name.clone(),
        isid: identity.isid,
    }
}

fn offered(settings: &SessionSettings) -> OfferedParams {
    OfferedParams {
        max_recv_data_segment_length: settings.max_recv_data_segment_length,
        max_burst_length: settings.max_burst_length,
        // Unsolicited data must fit into one window of a task.
        first_burst_length: settings.first_burst_length.min(scsi::WINDOW_BYTES),
        initial_r2t: settings.initial_r2t,
        immediate_data: settings.immediate_data,
        max_outstanding_r2t: settings.max_outstanding_r2t,
        header_digest: digest(settings.header_digest),
        data_digest: digest(settings.data_digest),
        default_time2wait: settings.default_time2wait,
        default_time2retain: settings.default_time2retain,
        ..OfferedParams::default()
    }
}

fn digest(allowed: Digests) -> DigestChoice {
    match allowed {
        Digests::None => DigestChoice::None,
        Digests::Crc32c => DigestChoice::Crc32c,
        Digests::Either => DigestChoice::Either,
    }
}

impl Shared {
    /// A TSIH for a discovery session, which no registry keeps.
    fn discovery_tsih(&self) -> Tsih {
        let id = self.new_session_id().0;
        Tsih(
            u16::try_from(id % u64::from(u16::MAX))
                .unwrap_or(0)
                .saturating_add(1),
        )
    }
}
