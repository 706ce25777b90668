//! `IpAddress` and `NotIpAddress`: addresses and networks.

use std::net::IpAddr;

use ipnet::IpNet;

use super::read_all;

/// A comparison with the networks of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AddressTest {
    networks: Vec<IpNet>,
}

impl AddressTest {
    pub(super) fn new(values: &[&str]) -> Result<Self, (usize, &'static str)> {
        let expected =
            "an address such as 10.0.0.7, or a network such as 10.0.0.0/8 without bits behind its length";
        Ok(Self { networks: read_all(values, network, expected)? })
    }

    /// Whether an address of the call is in one of the networks, or nothing if it is none.
    pub(super) fn fits(&self, seen: &str) -> Option<bool> {
        // `::ffff:10.0.0.7` is 10.0.0.7, as a socket for both families shows it.
        let seen = seen.parse::<IpAddr>().ok()?.to_canonical();
        Some(self.networks.iter().any(|network| network.contains(&seen)))
    }
}

fn network(text: &str) -> Option<IpNet> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(IpNet::from(address.to_canonical()));
    }
    // `10.0.0.7/8` is 10.0.0.0/8 to some and an error to others. A network of mapped addresses would match none.
    let is_mapped = |network: &IpNet| network.addr().is_ipv6() && network.addr().to_canonical().is_ipv4();
    text.parse::<IpNet>().ok().filter(|network| network.trunc() == *network && !is_mapped(network))
}
