//! Policies that the helper said hold for a while.
//!
//! Only policies: a verdict is about one challenge, which is never used again.

use std::collections::HashMap;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use auth::PolicyRequest;
use iscsi_wire::IscsiName;

use super::protocol::HelperPolicy;

/// How many policies are kept. When it is full of policies that still hold, further ones are not kept: they are asked for
/// each time, as without a cache.
const MAX_ENTRIES: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Cache(HashMap<Key, (HelperPolicy, Instant)>);

/// All that a policy can depend on, but for the peer's port, which is another in each login.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    initiator: IscsiName,
    target: Option<IscsiName>,
    portal_group_tag: Option<u16>,
    portal: SocketAddr,
    peer: IpAddr,
}

impl Cache {
    pub(super) fn find(&self, request: &PolicyRequest, now: Instant) -> Option<HelperPolicy> {
        let (policy, until) = self.0.get(&Key::of(request))?;
        (now < *until).then(|| policy.clone())
    }

    pub(super) fn insert(
        &mut self,
        request: &PolicyRequest,
        policy: HelperPolicy,
        holds: Duration,
        now: Instant,
    ) {
        let Some(until) = now.checked_add(holds).filter(|until| *until > now) else {
            return;
        };
        if self.0.len() >= MAX_ENTRIES {
            self.0.retain(|_, (_, until)| now < *until);
        }
        let key = Key::of(request);
        if self.0.len() < MAX_ENTRIES || self.0.contains_key(&key) {
            self.0.insert(key, (policy, until));
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Key {
    fn of(request: &PolicyRequest) -> Self {
        Self {
            initiator: request.initiator.clone(),
            target: request.target.clone(),
            portal_group_tag: request.portal_group_tag,
            portal: request.portal,
            peer: request.peer.ip(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(host: usize, peer_port: u16) -> PolicyRequest {
        let name = format!("iqn.2024-01.lab.example:host{host}");
        PolicyRequest {
            initiator: IscsiName::parse(&name).expect("well formed"),
            target: None,
            portal_group_tag: None,
            portal: ([127, 0, 0, 1], 3260).into(),
            peer: ([127, 0, 0, 2], peer_port).into(),
        }
    }

    #[test]
    fn find_until_the_time_is_over_gives_the_policy_of_this_question_only() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        let second = Duration::from_secs(1);
        cache.insert(&request(1, 40000), HelperPolicy::Open, second, start);
        let find = |request: &PolicyRequest, at| cache.find(request, at);
        // Another port of the same peer is the next login.
        assert_eq!(find(&request(1, 40001), start), Some(HelperPolicy::Open));
        assert_eq!(find(&request(2, 40000), start), None);
        assert_eq!(find(&request(1, 40000), start + second), None);
        let elsewhere = PolicyRequest {
            peer: ([127, 0, 0, 3], 40000).into(),
            ..request(1, 40000)
        };
        assert_eq!(find(&elsewhere, start), None);
    }

    #[test]
    fn insert_for_no_time_keeps_nothing() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        cache.insert(&request(1, 1), HelperPolicy::Open, Duration::ZERO, start);
        assert_eq!(cache.find(&request(1, 1), start), None);
        assert!(cache.0.is_empty());
    }

    #[test]
    fn insert_into_a_full_cache_takes_the_place_of_what_is_over() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        let second = Duration::from_secs(1);
        for host in 0..MAX_ENTRIES + 10 {
            cache.insert(&request(host, 1), HelperPolicy::Open, second, start);
        }
        assert_eq!(cache.0.len(), MAX_ENTRIES);
        assert_eq!(cache.find(&request(MAX_ENTRIES, 1), start), None);
        let later = start + second;
        cache.insert(&request(MAX_ENTRIES, 1), HelperPolicy::Open, second, later);
        assert!(cache.find(&request(MAX_ENTRIES, 1), later).is_some());
        assert_eq!(cache.0.len(), 1);
    }
}
