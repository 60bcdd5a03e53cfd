//! Decides by which names and addresses the aggregator is told to be reached.
//!
//! Nodes try them in order: first names that the DNS leads here, which outlast a change of address; then addresses, that
//! of the way out first; at last names that only this machine knows, which harm nobody and are in the certificate.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Most addresses: as many as the setting takes.
const ADDRESSES_MAX: usize = 8;
/// Begins of the names of interfaces that lead to containers and virtual machines of this machine alone.
const INNER: [&str; 9] = ["lo", "docker", "br-", "veth", "virbr", "lxc", "cni", "podman", "cali"];
/// Flags of an IPv6 address that will not last: temporary, deprecated, tentative.
const PASSING: u32 = 0x01 | 0x20 | 0x40;

/// What the machine says of itself.
#[derive(Debug, Default)]
pub(super) struct Reach {
    /// Its name.
    pub(super) host: String,
    /// What the resolver says of that name: address, canonical name, further names.
    pub(super) hosts_line: String,
    /// `/proc/net/fib_trie`.
    pub(super) fib_trie: String,
    /// `/proc/net/route`.
    pub(super) route: String,
    /// `/proc/net/if_inet6`.
    pub(super) if_inet6: String,
    /// Names that the DNS leads here.
    pub(super) in_dns: Vec<String>,
}

/// One row of the routing table.
#[derive(Debug)]
struct Route<'a> {
    interface: &'a str,
    network: u32,
    mask: u32,
}

impl Reach {
    /// Names of this machine, the longest first.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .hosts_line
            .split_whitespace()
            .skip(1)
            .filter(|name| name.strip_prefix(&self.host).is_some_and(|rest| rest.starts_with('.')))
            .map(str::to_owned)
            .collect();
        names.truncate(1);
        names.push(self.host.clone());
        names.retain(|name| is_name(name) && !name.starts_with("localhost"));
        names
    }

    /// True for an address of this machine that others can reach.
    pub(super) fn is_own(&self, address: &str) -> bool {
        address.parse().is_ok_and(|address: IpAddr| self.addresses().contains(&address))
    }

    fn addresses(&self) -> Vec<IpAddr> {
        let (v4, v6) = (self.v4(), self.v6());
        v4.into_iter().map(IpAddr::V4).chain(v6.into_iter().map(IpAddr::V6)).collect()
    }

    /// That of the way out first.
    fn v4(&self) -> Vec<Ipv4Addr> {
        let routes: Vec<Route<'_>> = self.route.lines().filter_map(route).collect();
        let out = routes.iter().find(|route| route.mask == 0).map(|route| route.interface);
        let interface = |address: &Ipv4Addr| {
            let fits =
                |route: &&Route<'_>| route.mask != 0 && u32::from(*address) & route.mask == route.network;
            routes.iter().filter(fits).max_by_key(|route| route.mask).map(|route| route.interface)
        };
        let mut found = Vec::new();
        let mut last = None;
        for line in self.fib_trie.lines().map(str::trim) {
            if let Some(address) = line.strip_prefix("|-- ") {
                last = address.parse::<Ipv4Addr>().ok();
            } else if let (Some(address), "/32 host LOCAL") = (last, line)
                && !address.is_loopback()
                && !address.is_link_local()
                && !found.contains(&address)
                && !interface(&address).is_some_and(is_inner)
            {
                found.push(address);
            }
        }
        found.sort_by_key(|address| interface(address) != out || out.is_none());
        found
    }

    fn v6(&self) -> Vec<Ipv6Addr> {
        let found = self.if_inet6.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [address, _, _, scope, flags, interface] = fields.as_slice() else { return None };
            let flags = u32::from_str_radix(flags, 16).ok()?;
            let address = Ipv6Addr::from(u128::from_str_radix(address, 16).ok()?);
            (*scope == "00" && flags & PASSING == 0 && !is_inner(interface)).then_some(address)
        });
        found.collect()
    }
}

fn route(line: &str) -> Option<Route<'_>> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let number = |index: usize| u32::from_str_radix(fields.get(index)?, 16).ok().map(u32::swap_bytes);
    Some(Route { interface: fields.first()?, network: number(1)?, mask: number(7)? })
}

fn is_inner(interface: &str) -> bool {
    INNER.iter().any(|begin| interface.starts_with(begin))
}

/// What a certificate can name.
fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    !name.is_empty() && name.len() < 254 && name.chars().all(fits)
}

/// Where the aggregator is reached, in the order to try.
pub(super) fn addresses(reach: &Reach, listen: SocketAddr) -> Vec<String> {
    // Nowhere else does anything listen.
    if !listen.ip().is_unspecified() {
        return vec![listen.to_string()];
    }
    let port = listen.port();
    let names = reach.names();
    let (known, unknown): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| reach.in_dns.contains(name));
    let numbers = reach.addresses().into_iter().map(|address| address.to_string());
    let hosts = known.into_iter().chain(numbers).chain(unknown);
    let mut found: Vec<String> = hosts.map(|host| with_port(&host, port)).take(ADDRESSES_MAX).collect();
    if found.is_empty() {
        found.push(with_port("localhost", port));
    }
    found
}

/// `host:port`, with the brackets of an IPv6 address.
pub(super) fn with_port(host: &str, port: u16) -> String {
    let has_port = host.parse::<std::net::SocketAddr>().is_ok()
        || host.matches(':').count() == 1
            && host.rsplit(':').next().is_some_and(|last| last.parse::<u16>().is_ok());
    match host.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]:{port}"),
        Err(_) if has_port => host.to_owned(),
        Err(_) => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8443);
    const FIB_TRIE: &str = "Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     |-- 127.0.0.1
        /32 host LOCAL
     +-- 172.17.0.0/16 2 0 2
        |-- 172.17.0.1
           /32 host LOCAL
     +-- 192.168.7.0/24 2 0 2
        |-- 192.168.7.4
           /32 host LOCAL
     +-- 10.0.2.0/24 2 0 2
        |-- 10.0.2.0
           /24 link UNICAST
        |-- 10.0.2.15
           /32 host LOCAL
        |-- 10.0.2.255
           /32 link BROADCAST
Local:
        |-- 10.0.2.15
           /32 host LOCAL
";
    const ROUTE: &str = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
eth0 00000000 0202000A 0003 0 0 100 00000000 0 0 0
eth0 0002000A 00000000 0001 0 0 100 00FFFFFF 0 0 0
eth1 0007A8C0 00000000 0001 0 0 100 00FFFFFF 0 0 0
docker0 000011AC 00000000 0001 0 0 0 0000FFFF 0 0 0
";
    const IF_INET6: &str = "00000000000000000000000000000001 01 80 10 80 lo
fe800000000000000000000000000001 02 40 20 80 eth0
20010db8000000000000000000000015 02 40 00 80 eth0
20010db80000000000000000000000aa 02 40 00 01 eth0
fd000000000000000000000000000001 05 40 00 80 docker0
";

    fn reach() -> Reach {
        Reach {
            host: "tower".to_owned(),
            hosts_line: "127.0.1.1       tower.example.org tower\n".to_owned(),
            fib_trie: FIB_TRIE.to_owned(),
            route: ROUTE.to_owned(),
            if_inet6: IF_INET6.to_owned(),
            in_dns: Vec::new(),
        }
    }

    #[test]
    fn addresses_that_others_reach_are_found_and_that_of_the_way_out_is_first() {
        let found = addresses(&reach(), ANYWHERE);
        let expected = [
            "10.0.2.15:8443",
            "192.168.7.4:8443",
            "[2001:db8::15]:8443",
            "tower.example.org:8443",
            "tower:8443",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_name_that_the_dns_leads_here_is_tried_before_any_address() {
        let mut reach = reach();
        assert_eq!(reach.names(), ["tower.example.org", "tower"]);
        assert!(reach.is_own("10.0.2.15") && reach.is_own("2001:db8::15"));
        assert!(!reach.is_own("127.0.1.1") && !reach.is_own("172.17.0.1") && !reach.is_own("x"));
        reach.in_dns = vec!["tower.example.org".to_owned()];
        let found = addresses(&reach, ANYWHERE);
        assert_eq!((found[0].as_str(), found[1].as_str()), ("tower.example.org:8443", "10.0.2.15:8443"));
        assert_eq!(found.last().unwrap(), "tower:8443");
        let elsewhere = "10.9.9.9:443".parse().unwrap();
        assert_eq!(addresses(&reach, elsewhere), ["10.9.9.9:443"], "it listens there alone");
    }

    #[test]
    fn a_machine_that_knows_nothing_of_itself_is_reached_from_itself() {
        let reach = Reach { host: "localhost".to_owned(), ..Reach::default() };
        assert_eq!(addresses(&reach, ANYWHERE), ["localhost:8443"]);
    }

    #[test]
    fn an_address_gets_the_port_unless_it_has_one() {
        for (host, address) in [
            ("a.example", "a.example:8443"),
            ("a.example:443", "a.example:443"),
            ("10.0.0.1", "10.0.0.1:8443"),
            ("2001:db8::1", "[2001:db8::1]:8443"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443"),
        ] {
            assert_eq!(with_port(host, 8443), address);
        }
    }
}
