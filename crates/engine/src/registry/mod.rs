//! The registry of a portal group: which I_T nexus has a session, and which login may make the next one.
//!
//! A small map under a mutex, which is held for map operations only: never over a message or a wait, never by I/O. News
//! for logins are sent when it is free again.
//!
//! A nexus' slot is free, claimed by a login, live, or closing. A nexus stays registered, closing, until its last I/O has
//! left the backstore, however its session ended; a login that comes before waits for that. Of two logins of one nexus
//! the newer takes the claim over, so that exactly one becomes a session. What was claimed and is not made live is given
//! back by dropping the [`Claim`].
//!
//! What it does not know: targets, access rules, workers, time. How long a login waits is its own business.
//!
//! Standards: RFC 7143 §4.4.3 (I_T nexus), §6.3.5 (session reinstatement, closure and timeout), §11.12.6 (TSIH).

mod claim;

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Arc, PoisonError};

use iscsi_wire::{IscsiName, Isid, Tsih};

use self::claim::Notify;
pub(crate) use self::claim::{Claim, ClaimEvent, ClaimLost, ClaimOutcome};
use crate::shared::SessionId;

#[cfg(loom)]
use loom::sync::{Mutex, MutexGuard};
#[cfg(not(loom))]
use std::sync::{Mutex, MutexGuard};

/// What names an I_T nexus within a portal group (RFC 7143 §4.4.3).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NexusKey {
    pub(crate) initiator: IscsiName,
    pub(crate) isid: Isid,
}

/// Where a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SessionRef {
    pub(crate) worker: u16,
    /// Unique in the process's life.
    pub(crate) session: u64,
}

impl SessionRef {
    pub(crate) fn session(&self) -> SessionId {
        SessionId(self.session)
    }
}

/// The registry of one portal group. Holds at most one session, and one claim, for each nexus, and 65,535 of both
/// together, which is as many as there are TSIHs.
pub(crate) struct Registry {
    shared: Arc<Shared>,
}

/// What claims refer to.
struct Shared {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    slots: BTreeMap<NexusKey, Slot>,
    /// Where each session's slot is.
    sessions: BTreeMap<u64, NexusKey>,
    /// TSIHs of claims and of sessions.
    tsihs: BTreeMap<Tsih, NexusKey>,
    last_tsih: u16,
    last_claim: u64,
    closed: bool,
}

/// The slot of a nexus that is not free.
enum Slot {
    Claimed(Pending),
    Live(Live),
    Closing {
        session: Live,
        waiting: Option<Pending>,
    },
}

/// A claim, as its slot has it.
struct Pending {
    id: u64,
    tsih: Tsih,
    notify: Notify,
}

#[derive(Clone, Copy)]
struct Live {
    session: SessionRef,
    tsih: Tsih,
}

/// News to be told when the mutex is free.
type News = Vec<(Notify, ClaimEvent)>;

impl Registry {
    /// A registry without sessions, open for logins.
    pub(crate) fn new() -> Self {
        let state = Mutex::new(State::default());
        Self {
            shared: Arc::new(Shared { state }),
        }
    }

    /// Claims a nexus for a login. An older login's claim is taken over: it gets [`ClaimEvent::Superseded`], and its
    /// connection is to be dropped unanswered.
    ///
    /// `notify` is called on whatever thread changes the claim's fate, perhaps before this returns, and news may overtake
    /// each other: [`make_live`](Self::make_live) has the last word.
    pub(crate) fn claim(
        &self,
        key: NexusKey,
        notify: impl Fn(ClaimEvent) + Send + Sync + 'static,
    ) -> ClaimOutcome {
        let mut news = News::new();
        let granted = self.shared.lock().claim(&key, Arc::new(notify), &mut news);
        tell(news);
        let Some(Granted { id, tsih, waits }) = granted else {
            return ClaimOutcome::Closed;
        };
        let claim = Claim::new(Arc::clone(&self.shared), key, id, tsih);
        match waits {
            None => ClaimOutcome::Granted(claim),
            Some(end) => ClaimOutcome::Waits { claim, end },
        }
    }

    /// Makes the session of a login that was granted its claim, at once or by [`ClaimEvent::Ready`]. Returns its TSIH,
    /// which is the claim's. Whoever asks for the nexus from now on has the session ended by its worker: a worker that
    /// calls this for its own session knows it by then.
    ///
    /// # Errors
    /// When the claim was taken over, the group takes no logins any more, or it has still to wait; it is given back.
    pub(crate) fn make_live(&self, claim: Claim, session: SessionRef) -> Result<Tsih, ClaimLost> {
        let tsih = claim.tsih();
        // Dropped when the mutex is free again: a claim given back takes it too.
        self.shared.lock().make_live(&claim, session)?;
        Ok(tsih)
    }

    /// Gives a claim back. Dropping it does the same.
    #[cfg(test)]
    pub(crate) fn cancel(&self, claim: Claim) {
        drop(claim);
    }

    /// The last I/O of a session has left, and nothing of it can do harm any more: its nexus is free, or the claim's that
    /// waits for it. A session that is not known changes nothing.
    pub(crate) fn closed(&self, session: u64) {
        let mut news = News::new();
        self.shared.lock().closed(session, &mut news);
        tell(news);
    }

    /// Refuses new claims, cancels those there are, and returns the sessions that nobody has been told to end yet: the
    /// caller has each ended.
    pub(crate) fn close_all(&self) -> Vec<SessionRef> {
        let mut news = News::new();
        let sessions = self.shared.lock().close_all(&mut news);
        tell(news);
        sessions
    }

    /// Takes logins again after [`close_all`](Self::close_all). Sessions that are still closing stay registered.
    pub(crate) fn reopen(&self) {
        self.shared.lock().closed = false;
    }

    /// Whether a nexus is claimed, live or closing.
    pub(crate) fn is_used(&self) -> bool {
        !self.shared.lock().slots.is_empty()
    }

    /// The live session with this TSIH, and its nexus (RFC 7143 §6.3.1: a login with a TSIH is for an existing session of
    /// the same nexus).
    pub(crate) fn find(&self, tsih: Tsih) -> Option<(NexusKey, SessionRef)> {
        self.shared.lock().find(tsih)
    }
}

impl Shared {
    /// A panic elsewhere in the process leaves the map whole: each operation changes it in steps that cannot fail.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A claim is dropped.
    fn give_back(&self, claim: &Claim) {
        // Bound, so that what the login gave to be notified with is dropped when the mutex is free.
        let given_back = self.lock().give_back(claim);
        drop(given_back);
    }
}

fn tell(news: News) {
    for (notify, event) in news {
        notify(event);
    }
}

/// A claim that was entered.
struct Granted {
    id: u64,
    tsih: Tsih,
    /// It waits for a session to end; within, the session if it has to be told.
    waits: Option<Option<SessionRef>>,
}

impl State {
    fn claim(&mut self, key: &NexusKey, notify: Notify, news: &mut News) -> Option<Granted> {
        if self.closed {
            return None;
        }
        let tsih = self.allocate_tsih(key)?;
        self.last_claim += 1;
        let id = self.last_claim;
        let pending = Pending { id, tsih, notify };
        let (slot, older, waits) = match self.slots.remove(key) {
            None => (Slot::Claimed(pending), None, None),
            Some(Slot::Claimed(older)) => (Slot::Claimed(pending), Some(older), None),
            Some(Slot::Live(session)) => {
                let end = Some(session.session);
                (
                    Slot::Closing {
                        session,
                        waiting: Some(pending),
                    },
                    None,
                    Some(end),
                )
            }
            // There is one drain of the old session, and it is under way.
            Some(Slot::Closing {
                session,
                waiting: older,
            }) => (
                Slot::Closing {
                    session,
                    waiting: Some(pending),
                },
                older,
                Some(None),
            ),
        };
        self.slots.insert(key.clone(), slot);
        if let Some(older) = older {
            self.tsihs.remove(&older.tsih);
            news.push((older.notify, ClaimEvent::Superseded));
        }
        Some(Granted { id, tsih, waits })
    }

    fn make_live(&mut self, claim: &Claim, session: SessionRef) -> Result<(), ClaimLost> {
        match self.slots.get_mut(claim.key()) {
            Some(slot @ Slot::Claimed(_)) if slot.is_claimed_by(claim) => {
                *slot = Slot::Live(Live {
                    session,
                    tsih: claim.tsih(),
                });
                self.sessions.insert(session.session, claim.key().clone());
                Ok(())
            }
            Some(slot) if slot.is_claimed_by(claim) => Err(ClaimLost::NotReady),
            _ if self.closed => Err(ClaimLost::Cancelled),
            _ => Err(ClaimLost::Superseded),
        }
    }

    fn give_back(&mut self, claim: &Claim) -> Option<Pending> {
        let slot = self
            .slots
            .get_mut(claim.key())
            .filter(|slot| slot.is_claimed_by(claim))?;
        let pending = match slot {
            Slot::Closing { waiting, .. } => waiting.take(),
            Slot::Claimed(_) | Slot::Live(_) => match self.slots.remove(claim.key()) {
                Some(Slot::Claimed(pending)) => Some(pending),
                _ => None,
            },
        };
        self.tsihs.remove(&claim.tsih());
        pending
    }

    fn closed(&mut self, session: u64, news: &mut News) {
        let Some(key) = self.sessions.remove(&session) else {
            return;
        };
        let (live, waiting) = match self.slots.remove(&key) {
            Some(Slot::Live(live)) => (live, None),
            Some(Slot::Closing { session, waiting }) => (session, waiting),
            // A nexus that is only claimed has no session.
            Some(Slot::Claimed(_)) | None => return,
        };
        self.tsihs.remove(&live.tsih);
        if let Some(pending) = waiting {
            news.push((Arc::clone(&pending.notify), ClaimEvent::Ready));
            self.slots.insert(key, Slot::Claimed(pending));
        }
    }

    fn close_all(&mut self, news: &mut News) -> Vec<SessionRef> {
        self.closed = true;
        let mut sessions = Vec::new();
        for (key, slot) in mem::take(&mut self.slots) {
            let cancelled = match slot {
                Slot::Claimed(pending) => Some(pending),
                Slot::Live(session) => {
                    sessions.push(session.session);
                    self.slots.insert(
                        key,
                        Slot::Closing {
                            session,
                            waiting: None,
                        },
                    );
                    None
                }
                Slot::Closing { session, waiting } => {
                    self.slots.insert(
                        key,
                        Slot::Closing {
                            session,
                            waiting: None,
                        },
                    );
                    waiting
                }
            };
            if let Some(pending) = cancelled {
                self.tsihs.remove(&pending.tsih);
                news.push((pending.notify, ClaimEvent::Cancelled));
            }
        }
        sessions
    }

    fn find(&self, tsih: Tsih) -> Option<(NexusKey, SessionRef)> {
        let key = self.tsihs.get(&tsih)?;
        match self.slots.get(key)? {
            Slot::Live(live) if live.tsih == tsih => Some((key.clone(), live.session)),
            _ => None,
        }
    }

    /// RFC 7143 §11.13.3: the target's TSIH is not zero, and one identifies one session. The next free one after the last,
    /// so that one is not used again soon.
    fn allocate_tsih(&mut self, key: &NexusKey) -> Option<Tsih> {
        for _ in 0..u16::MAX {
            self.last_tsih = self.last_tsih.checked_add(1).unwrap_or(1);
            let tsih = Tsih(self.last_tsih);
            if let std::collections::btree_map::Entry::Vacant(free) = self.tsihs.entry(tsih) {
                free.insert(key.clone());
                return Some(tsih);
            }
        }
        None
    }
}

impl Slot {
    fn is_claimed_by(&self, claim: &Claim) -> bool {
        match self {
            Self::Claimed(pending)
            | Self::Closing {
                waiting: Some(pending),
                ..
            } => pending.id == claim.id(),
            Self::Live(_) | Self::Closing { waiting: None, .. } => false,
        }
    }
}
