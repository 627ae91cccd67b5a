//! Listening sockets: one for each address and port that any portal group is served at, opened with the first user and closed
//! with the last.
//!
//! Where a wildcard and a specific address share a port, only the wildcard is bound. A change between the two takes the
//! listener over without refusing anybody: both sockets share the port for that time, the old one lets no new handshake in, and
//! closes when those under way have been accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use model::{ObjectPath, Plan, Tree};
use reactor::socket::{self, ListenOptions};

use super::ApplyError;
use crate::drain::{Drain, Leaving};
use crate::engine::patiently;
use crate::shared::{Message, Shared};

/// How long a listener that another takes over from goes on accepting: handshakes that were under way have come through by
/// then, or their initiators try again.
const LINGER: Duration = Duration::from_millis(500);

/// The sockets there are. A second descriptor of each is kept here: the first is the worker's.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    open: BTreeMap<SocketAddr, OwnedFd>,
    /// Sockets that share their port for the time of a swap.
    swapped: Vec<SocketAddr>,
}

/// What is ready for a commit.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    fresh: Vec<(SocketAddr, OwnedFd)>,
    /// Addresses whose listener goes, and whether another takes over from it.
    gone: Vec<(SocketAddr, bool)>,
}

impl Sockets {
    /// Opens the gates: connections queue up, and nobody accepts yet.
    pub(super) fn listen(&self) -> Result<(), ApplyError> {
        for (address, fd) in &self.fresh {
            let error = |source| ApplyError::Portal {
                address: *address,
                source,
            };
            socket::start_listening(fd, ListenOptions::default().backlog).map_err(error)?;
        }
        Ok(())
    }
}

impl Listeners {
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.open.keys().copied().collect()
    }

    /// Binds what the plan needs. A portal with port 0 gets the port that the system
    /// chose, in the plan's tree.
    pub(super) fn bind(&mut self, plan: &mut Plan) -> Result<Sockets, ApplyError> {
        let mut sockets = Sockets::default();
        let touches = |path: &ObjectPath| matches!(path, ObjectPath::Portal(..));
        if !plan.touched.iter().any(|touched| touches(&touched.path)) {
            return Ok(sockets);
        }
        take_free_ports(plan, &mut sockets)?;
        let wanted = wanted(&plan.tree);
        let gone: Vec<SocketAddr> = self
            .open
            .keys()
            .filter(|address| !wanted.contains(address))
            .copied()
            .collect();
        for address in wanted {
            let fresh = sockets.fresh.iter().any(|(one, _)| *one == address);
            if fresh || self.open.contains_key(&address) {
                continue;
            }
            let swaps = gone.iter().any(|old| overlap(*old, address));
            let error = |source| ApplyError::Portal { address, source };
            let fd = self.bind_one(address, swaps).map_err(error)?;
            sockets.fresh.push((address, fd));
        }
        for address in portals_covered(&plan.tree) {
            let error = |source| ApplyError::Portal { address, source };
            if !socket::is_local_address(address.ip()).map_err(error)? {
                let source = io::ErrorKind::AddrNotAvailable.into();
                return Err(ApplyError::Portal { address, source });
            }
        }
        let taken_over =
            |old: &SocketAddr| sockets.fresh.iter().any(|(new, _)| overlap(*old, *new));
        sockets.gone = gone.iter().map(|old| (*old, taken_over(old))).collect();
        Ok(sockets)
    }

    fn bind_one(&mut self, address: SocketAddr, swaps: bool) -> io::Result<OwnedFd> {
        if swaps {
            for (old, fd) in self.open.iter().filter(|(old, _)| overlap(**old, address)) {
                socket::set_reuse_port(fd, true)?;
                self.swapped.push(*old);
            }
        }
        let options = ListenOptions {
            reuse_port: swaps,
            ..ListenOptions::default()
        };
        let busy = |e: &io::Error| e.kind() == io::ErrorKind::AddrInUse;
        patiently(|| socket::bind(address, options), busy)
    }

    /// A prepare came to nothing: the old sockets have their ports alone again.
    pub(super) fn forget_swap(&mut self) {
        for address in std::mem::take(&mut self.swapped) {
            if let Some(fd) = self.open.get(&address) {
                unshare(fd);
            }
        }
    }

    /// Hands new sockets to the worker that accepts, and has the old ones closed.
    pub(super) fn commit(&mut self, sockets: Sockets, shared: &Shared, drain: &Drain) {
        let Some(worker) = shared.mailboxes.first() else {
            return;
        };
        for (address, fd) in sockets.fresh {
            if let Ok(kept) = fd.try_clone() {
                self.open.insert(address, kept);
            }
            let _gone = worker.send(Message::Listen { fd, address });
        }
        for (address, taken_over) in sockets.gone {
            let Some(fd) = self.open.remove(&address) else {
                continue;
            };
            // A specific socket is found before a wildcard's: handshakes come to it until it lets none in. The other way round
            // they go to the new one by themselves.
            let yields = address.ip().is_unspecified() || socket::refuse_new(&fd).is_ok();
            let linger = if taken_over && yields {
                LINGER
            } else {
                Duration::ZERO
            };
            let hold = drain.hold(Leaving::Listener);
            let _gone = worker.send(Message::Unlisten {
                address,
                linger,
                hold,
            });
        }
        self.swapped.clear();
    }
}

/// A socket that shares its port with nobody any more is left as it is where the option cannot be taken back: sharing needs
/// the same user and the option on both.
fn unshare(fd: &OwnedFd) {
    if let Err(error) = socket::set_reuse_port(fd, false) {
        tracing::debug!(%error, "a listener keeps sharing its port");
    }
}

/// Binds each portal with port 0 that the plan touches, and notes its real port in the plan's tree.
fn take_free_ports(plan: &mut Plan, sockets: &mut Sockets) -> Result<(), ApplyError> {
    for touched in &mut plan.touched {
        let ObjectPath::Portal(target, tag, address) = touched.path.clone() else {
            continue;
        };
        if touched.after.is_none() || address.port() != 0 {
            continue;
        }
        let error = |source| ApplyError::Portal { address, source };
        let fd = socket::bind(address, ListenOptions::default()).map_err(error)?;
        let real = socket::local_addr(&fd).map_err(error)?;
        plan.tree = plan.tree.with_port(&touched.path, real.port());
        touched.path = ObjectPath::Portal(target, tag, real);
        touched.after = plan.tree.find(&touched.path);
        sockets.fresh.push((real, fd));
    }
    Ok(())
}

/// The addresses to listen at.
fn wanted(tree: &Tree) -> BTreeSet<SocketAddr> {
    let free = |address: &SocketAddr| address.port() != 0 && !is_covered(tree, *address);
    tree.portal_addresses().filter(free).collect()
}

/// Portals whose address a wildcard's listener serves too.
fn portals_covered(tree: &Tree) -> impl Iterator<Item = SocketAddr> + '_ {
    tree.portal_addresses()
        .filter(|address| is_covered(tree, *address))
}

fn is_covered(tree: &Tree, address: SocketAddr) -> bool {
    !address.ip().is_unspecified() && tree.has_portal(&wildcard_of(address))
}

fn wildcard_of(address: SocketAddr) -> SocketAddr {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(any, address.port())
}

/// Whether one of the two is the wildcard over the other.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    a != b && (wildcard_of(a) == b || wildcard_of(b) == a)
}
