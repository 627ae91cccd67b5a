//! The discovery sessions there are, by what must be one of a kind (RFC 7143 §7.4.2): a small map under a mutex that is held for map
//! operations only.
//!
//! A discovery session has no portal group to keep it in a registry: without TargetName it is one of an initiator port at an
//! address, with TargetName one of an initiator port and a portal group. It has no tasks, so that a new one waits for nothing: it
//! takes the place, and the old one ends.
//!
//! One with TargetName ends no normal session, although §7.4.2.2 has it so: discovery may be open to everybody where the target asks
//! for CHAP, and anybody could end sessions by a name.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use iscsi_wire::{IscsiName, Isid};

use crate::shared::{SessionId, WorkerId};

/// Of whom, and of what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DiscoveryNexus {
    pub(crate) initiator: IscsiName,
    pub(crate) isid: Isid,
    pub(crate) of: DiscoveryOf,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DiscoveryOf {
    /// RFC 7143 §7.4.2.1: the target address.
    Address(SocketAddr),
    /// RFC 7143 §7.4.2.2: the target that was named, and the tag of its group there.
    Group(IscsiName, u16),
}

#[derive(Debug, Default)]
pub(crate) struct Discoveries(Mutex<BTreeMap<DiscoveryNexus, (SessionId, WorkerId)>>);

impl Discoveries {
    /// A session takes its place; the one that had it, which is to be ended.
    pub(crate) fn enter(
        &self,
        nexus: &DiscoveryNexus,
        session: (SessionId, WorkerId),
    ) -> Option<(SessionId, WorkerId)> {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.insert(nexus.clone(), session)
    }

    /// Who has it.
    pub(crate) fn find(&self, nexus: &DiscoveryNexus) -> Option<(SessionId, WorkerId)> {
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.get(nexus).copied()
    }

    /// A session is over. Its place may be another's by now.
    pub(crate) fn leave(&self, nexus: &DiscoveryNexus, session: SessionId) {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.get(nexus).is_some_and(|(id, _)| *id == session) {
            sessions.remove(nexus);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_is_the_last_ones_and_is_given_back_by_it_alone() {
        let nexus = |address: &str| DiscoveryNexus {
            initiator: IscsiName::parse("iqn.2026-11.org.example:host").unwrap(),
            isid: Isid([0x80, 0, 0, 0, 0, 1]),
            of: DiscoveryOf::Address(address.parse().unwrap()),
        };
        let (here, there) = (nexus("127.0.0.1:3260"), nexus("127.0.0.2:3260"));
        let [one, two, three] = [1, 2, 3].map(|id| (SessionId(id), WorkerId(0)));
        let sessions = Discoveries::default();
        assert_eq!(sessions.enter(&here, one), None);
        assert_eq!(sessions.enter(&there, two), None, "another address");
        assert_eq!(sessions.enter(&here, three), Some(one));
        sessions.leave(&here, one.0);
        assert_eq!(sessions.find(&here), Some(three));
        sessions.leave(&here, three.0);
        assert_eq!(
            (sessions.find(&here), sessions.find(&there)),
            (None, Some(two))
        );
    }
}
