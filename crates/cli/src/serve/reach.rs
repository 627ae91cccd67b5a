//! Under which address initiators reach a portal.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Addresses that documents use and nobody has (RFC 5737, RFC 3849): only the way to them is of interest.
const FAR_V4: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);
const FAR_V6: SocketAddr = SocketAddr::new(
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    9,
);

/// Where a portal is reached, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    /// A real address, also where the portal listens at every one.
    pub(crate) address: SocketAddr,
    /// Other machines can reach it.
    pub(crate) beyond_loopback: bool,
}

impl Reach {
    /// Of several portals, the one to tell people of: one that others reach, else the first.
    pub(crate) fn best(
        portals: &[SocketAddr],
        outward: impl Fn(SocketAddr) -> IpAddr,
    ) -> Option<Self> {
        let reaches = || portals.iter().map(|portal| Self::of(*portal, &outward));
        reaches()
            .find(|reach| reach.beyond_loopback)
            .or_else(|| reaches().next())
    }

    fn of(portal: SocketAddr, outward: impl Fn(SocketAddr) -> IpAddr) -> Self {
        let mut address = portal;
        if portal.ip().is_unspecified() {
            address.set_ip(outward(portal));
        }
        Self {
            address,
            beyond_loopback: !portal.ip().is_loopback(),
        }
    }
}

/// The address of this machine in the family of `portal` that faces the network; loopback where there is no network.
pub(crate) fn outward_address(portal: SocketAddr) -> IpAddr {
    let (any, far, loopback) = match portal {
        SocketAddr::V4(_) => (
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            FAR_V4,
            IpAddr::V4(Ipv4Addr::LOCALHOST),
        ),
        SocketAddr::V6(_) => (
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            FAR_V6,
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ),
    };
    // Connecting a datagram socket sends nothing: the kernel looks up the route and picks the source address.
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect(far)?;
        socket.local_addr()
    });
    match source {
        Ok(source) if !source.ip().is_unspecified() => source.ip(),
        _ => loopback,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(portals: &[&str]) -> Option<(String, bool)> {
        let portals: Vec<SocketAddr> = portals.iter().map(|text| text.parse().unwrap()).collect();
        let outward = |portal: SocketAddr| match portal {
            SocketAddr::V4(_) => "10.0.0.7".parse().unwrap(),
            SocketAddr::V6(_) => "fd00::7".parse().unwrap(),
        };
        let reach = Reach::best(&portals, outward)?;
        Some((reach.address.to_string(), reach.beyond_loopback))
    }

    #[test]
    fn best_of_portals_is_one_that_others_reach_under_a_real_address() {
        let table: [(&[&str], &str, bool); 6] = [
            (&["127.0.0.1:3260"], "127.0.0.1:3260", false),
            (&["[::1]:3261", "127.0.0.1:3260"], "[::1]:3261", false),
            (&["127.0.0.1:3260", "10.1.2.3:860"], "10.1.2.3:860", true),
            (&["0.0.0.0:3260"], "10.0.0.7:3260", true),
            (&["[::]:3260", "10.1.2.3:860"], "[fd00::7]:3260", true),
            (&["127.0.0.2:1"], "127.0.0.2:1", false),
        ];
        for (portals, address, beyond) in table {
            assert_eq!(
                best(portals),
                Some((address.to_owned(), beyond)),
                "{portals:?}"
            );
        }
        assert_eq!(best(&[]), None);
    }

    #[test]
    fn outward_address_on_any_machine_is_a_real_one_of_its_family() {
        for portal in ["0.0.0.0:1", "[::]:1"] {
            let portal: SocketAddr = portal.parse().unwrap();
            let address = outward_address(portal);
            assert!(!address.is_unspecified());
            assert_eq!(address.is_ipv4(), portal.is_ipv4());
        }
    }
}
