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
        Some(self.fits_address(seen.parse().ok()?))
    }

    /// Whether an address of the call is in one of the networks.
    pub(super) fn fits_address(&self, seen: IpAddr) -> bool {
        // `::ffff:10.0.0.7` is 10.0.0.7, as a socket for both families shows it.
        let seen = seen.to_canonical();
        self.networks.iter().any(|network| network.contains(&seen))
    }
}

fn network(text: &str) -> Option<IpNet> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(IpNet::from(address.to_canonical()));
    }
    let (address, length) = text.split_once('/')?;
    // `010.0.0.0/08` is 8.0.0.0/8 to some: a zero in front is no digit of a decimal number everywhere.
    let is_decimal = length == "0" || !length.starts_with(['0', '+']);
    let network = IpNet::new(address.parse().ok()?, length.parse().ok().filter(|_| is_decimal)?).ok()?;
    // `10.0.0.7/8` is 10.0.0.0/8 to some and an error to others. A network of mapped addresses would match none.
    let is_mapped = network.addr().is_ipv6() && network.addr().to_canonical().is_ipv4();
    (network.trunc() == network && !is_mapped).then_some(network)
}
