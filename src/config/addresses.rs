//! The static address list: which hosts and ports may carry a node of this cluster. Names are
//! not resolved here; that is done anew at each probe.
//!
//! An entry is an IP address or a host name, alone, with `:port`, or with `:port1..port2`, both
//! included. IPv6 stands bare or in brackets, with a port in brackets only. Port 0 or none means
//! the default range.

use super::discovery::DEFAULT_PORTS;
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;

/// The most hosts and ports that one list may stand for. All of them are probed, again and
/// again, so a typing error such as `host:1..65535` must not become a port scan.
pub const ENDPOINTS_MAX: usize = 1024;

/// The longest host name, in bytes.
const HOST_BYTES_MAX: usize = 253;

/// Hosts and ports where peers may be found, in the order of the settings.
///
/// # Example
///
/// ```
/// use embergrid::config::AddressList;
///
/// let list = AddressList::of(["10.0.0.1:47500..47501", "node-2.example.org:47500"])?;
/// assert_eq!(list.endpoints().len(), 3);
/// assert_eq!(list.to_string(), "10.0.0.1:47500..47501, node-2.example.org:47500");
/// # Ok::<(), Vec<embergrid::config::addresses::RefusedAddress>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressList {
    entries: Vec<Address>,
}

/// One entry of the list.
///
/// # Example
///
/// ```
/// use embergrid::config::addresses::Address;
///
/// let address = Address {
///     host: "10.0.0.7".to_owned(),
///     ports: 47_500..=47_502,
/// };
/// assert_eq!(address.to_string(), "10.0.0.7:47500..47502");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// An IP address (v6 without brackets) or a host name, in lower case.
    pub host: String,
    /// The ports, both ends included.
    pub ports: RangeInclusive<u16>,
}

/// An entry that was refused.
///
/// # Example
///
/// ```
/// use embergrid::config::AddressList;
///
/// let refused = AddressList::parse("node-1, node-2:70000").expect_err("there is no such port");
/// assert_eq!(refused[0].index, 1);
/// println!("{}", refused[0]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedAddress {
    /// The entry as it was given, shortened where it is long.
    pub entry: String,
    /// What is wrong with it.
    pub what: String,
    /// How to mend it.
    pub cure: String,
    /// Its place in the list, counted from 0.
    pub index: usize,
}

impl fmt::Display for RefusedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}; {}", self.entry, self.what, self.cure)
    }
}

impl Default for AddressList {
    fn default() -> Self {
        Self {
            entries: vec![Address {
                host: "localhost".to_owned(),
                ports: DEFAULT_PORTS,
            }],
        }
    }
}

impl AddressList {
    /// Reads a comma separated list, such as `localhost:47500..47509, [::1]:47500`.
    ///
    /// # Errors
    ///
    /// All refused entries at once.
    ///
    /// # Example
    ///
    /// ```
    /// use embergrid::config::AddressList;
    ///
    /// let list = AddressList::parse("localhost:47500..47509, [::1]:47500")?;
    /// assert_eq!(list.endpoints().len(), 11);
    /// let refused = AddressList::parse("a:1,,b:x").expect_err("two bad entries");
    /// assert_eq!(refused.len(), 2);
    /// # Ok::<(), Vec<embergrid::config::addresses::RefusedAddress>>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, Vec<RefusedAddress>> {
        Self::of(text.split(','))
    }

    /// Reads a list of entries; none at all is an empty list.
    ///
    /// # Errors
    ///
    /// All refused entries at once.
    ///
    /// # Example
    ///
    /// ```
    /// use embergrid::config::AddressList;
    ///
    /// let list = AddressList::of(["10.0.0.1:47500", "[fd00::1]:47500"])?;
    /// assert_eq!(list.entries().len(), 2);
    /// # Ok::<(), Vec<embergrid::config::addresses::RefusedAddress>>(())
    /// ```
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, Vec<RefusedAddress>> {
        let (mut list, mut refused, mut endpoints) = (Vec::new(), Vec::new(), 0);
        for (index, text) in entries.into_iter().enumerate() {
            match Address::parse(text) {
                Ok(address) => {
                    endpoints += address.ports.len();
                    if endpoints > ENDPOINTS_MAX {
                        refused.push(
                            RefusedAddress::new(
                                text,
                                format!(
                                    "with it the list stands for more than {ENDPOINTS_MAX} ports"
                                ),
                                "name fewer ports",
                            )
                            .at(index),
                        );
                        break;
                    }
                    list.push(address);
                }
                Err(error) => refused.push(error.at(index)),
            }
            if refused.len() >= ENDPOINTS_MAX || list.len() >= ENDPOINTS_MAX {
                break;
            }
        }
        if refused.is_empty() {
            Ok(Self { entries: list })
        } else {
            Err(refused)
        }
    }

    /// The entries as they were given.
    ///
    /// # Example
    ///
    /// ```
    /// use embergrid::config::AddressList;
    ///
    /// let list = AddressList::parse("Node-1:47500..47502")?;
    /// assert_eq!(list.entries()[0].host, "node-1");
    /// assert_eq!(list.entries()[0].ports, 47_500..=47_502);
    /// # Ok::<(), Vec<embergrid::config::addresses::RefusedAddress>>(())
    /// ```
    pub fn entries(&self) -> &[Address] {
        &self.entries
    }

    /// Every host and port to probe, each once, in the order of the list; [`ENDPOINTS_MAX`] at
    /// most.
    ///
    /// # Example
    ///
    /// ```
    /// use embergrid::config::AddressList;
    ///
    /// let list = AddressList::parse("b:2..3, a:1, A:1")?;
    /// for (host, port) in list.endpoints() {
    ///     println!("{host} at {port}");
    /// }
    /// assert_eq!(list.endpoints().len(), 3);
    /// # Ok::<(), Vec<embergrid::config::addresses::RefusedAddress>>(())
    /// ```
    pub fn endpoints(&self) -> Vec<(String, u16)> {
        let mut seen = BTreeSet::new();
        let mut endpoints = Vec::new();
        for entry in &self.entries {
            for port in entry.ports.clone() {
                if seen.insert((entry.host.as_str(), port)) {
                    endpoints.push((entry.host.clone(), port));
                }
            }
        }
        endpoints
    }

    /// The places of entries all of whose ports stand in earlier entries too.
    ///
    /// # Example
    ///
    /// ```
    /// use embergrid::config::AddressList;
    ///
    /// let list = AddressList::parse("a:1..3, b:1, a:2")?;
    /// assert_eq!(list.doubled(), [2]);
    /// # Ok::<(), Vec<embergrid::config::addresses::RefusedAddress>>(())
    /// ```
    pub fn doubled(&self) -> Vec<usize> {
        let mut seen = BTreeSet::new();
        let mut doubled = Vec::new();
        for (place, entry) in self.entries.iter().enumerate() {
            let mut new = false;
            for port in entry.ports.clone() {
                new |= seen.insert((entry.host.as_str(), port));
            }
            if !new {
                doubled.push(place);
            }
        }
        doubled
    }

    /// Whether every entry is on this machine's loopback interface; so is an empty list.
    ///
    /// # Example
    ///
    /// ```
    /// use embergrid::config::AddressList;
    ///
    /// assert!(AddressList::parse("localhost, 127.0.0.9, [::1]:5")?.loopback_only());
    /// assert!(!AddressList::parse("localhost, 10.0.0.1")?.loopback_only());
    /// # Ok::<(), Vec<embergrid::config::addresses::RefusedAddress>>(())
    /// ```
    pub fn loopback_only(&self) -> bool {
        self.entries.iter().all(|entry| is_loopback(&entry.host))
    }
}

impl fmt::Display for AddressList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, entry) in self.entries.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{entry}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.ports.start(), self.ports.end());
        if self.host.contains(':') {
            write!(f, "[{}]:{first}", self.host)?;
        } else {
            write!(f, "{}:{first}", self.host)?;
        }
        if first == last {
            Ok(())
        } else {
            write!(f, "..{last}")
        }
    }
}

/// Whether a host is this machine's loopback interface by its form alone.
pub fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Reads the address that this node listens on and tells its peers: a host without a port.
///
/// # Errors
///
/// What is wrong with it, and the cure.
pub(super) fn parse_local(text: &str) -> Result<String, (String, &'static str)> {
    const LOCAL: &str = "write one IP address or host name of this machine, without a port; \
                         local-port has the port";
    let host = parse_host(text).map_err(|(what, _)| (what, LOCAL))?;
    if host
        .parse::<IpAddr>()
        .is_ok_and(|address| address.is_unspecified())
    {
        return Err((
            "an address that peers cannot connect to".to_owned(),
            "take it out to listen on all interfaces",
        ));
    }
    Ok(host)
}

impl RefusedAddress {
    fn at(mut self, index: usize) -> Self {
        self.index = index;
        self
    }

    fn new(entry: &str, what: impl Into<String>, cure: impl Into<String>) -> Self {
        let mut shown: String = entry.trim().chars().take(80).collect();
        if shown.len() < entry.trim().len() {
            shown.push('…');
        }
        Self {
            entry: shown,
            what: what.into(),
            cure: cure.into(),
            index: 0,
        }
    }
}

impl Address {
    /// Reads one entry; blanks around it do not count.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and the cure.
    ///
    /// # Example
    ///
    /// ```
    /// use embergrid::config::addresses::Address;
    ///
    /// let address = Address::parse(" [0:0:0:0:0:0:0:1]:47500 ")?;
    /// assert_eq!(address.host, "::1");
    /// assert_eq!(address.ports, 47_500..=47_500);
    /// # Ok::<(), embergrid::config::addresses::RefusedAddress>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, RefusedAddress> {
        let entry = text.trim();
        let refuse = |(what, cure): Refusal| RefusedAddress::new(entry, what, cure);
        if entry.is_empty() {
            return Err(refuse((
                "an empty entry".into(),
                "take out the comma or name a host",
            )));
        }
        if entry.contains(',') {
            return Err(refuse((
                "a comma inside an entry".into(),
                "write each address as an entry of its own",
            )));
        }
        if entry.chars().any(char::is_whitespace) {
            return Err(refuse((
                "a blank inside an entry".into(),
                "separate entries by commas and write each without blanks",
            )));
        }
        let (host, ports) = split(entry).map_err(refuse)?;
        let host = parse_host(host).map_err(refuse)?;
        if host
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_unspecified() || ip.is_multicast())
        {
            return Err(refuse((
                "an address that no single node has".into(),
                "name the address that peers connect to",
            )));
        }
        let ports = ports
            .map_or(Ok(DEFAULT_PORTS), parse_ports)
            .map_err(refuse)?;
        Ok(Self { host, ports })
    }
}

/// What is wrong, and how to mend it.
type Refusal = (String, &'static str);

const BRACKETS: &str = "write an IPv6 address with a port as [::1]:47500";
const HOST_FIRST: &str = "write host:port, such as localhost:47500";

/// The host and, where there is one, what follows its colon.
fn split(entry: &str) -> Result<(&str, Option<&str>), Refusal> {
    if let Some(rest) = entry.strip_prefix('[') {
        let Some((host, after)) = rest.split_once(']') else {
            return Err(("a bracket that is not closed".into(), BRACKETS));
        };
        if host.parse::<Ipv6Addr>().is_err() {
            return Err(("no IPv6 address between the brackets".into(), BRACKETS));
        }
        return match after.strip_prefix(':') {
            Some(ports) => Ok((host, Some(ports))),
            None if after.is_empty() => Ok((host, None)),
            None => Err((
                "something after the bracket that is no port".into(),
                BRACKETS,
            )),
        };
    }
    if entry.parse::<Ipv6Addr>().is_ok() {
        return Ok((entry, None));
    }
    match entry.split_once(':') {
        None => Ok((entry, None)),
        Some((_, ports)) if ports.contains(':') => Err((
            "more than one colon, and not an IPv6 address".into(),
            "write host:port, host:port1..port2 or [IPv6]:port",
        )),
        Some(("", _)) => Err(("no host before the colon".into(), HOST_FIRST)),
        Some((host, ports)) => Ok((host, Some(ports))),
    }
}

/// Reads a host: an IP address in its shortest form, or a name in lower case.
pub(super) fn parse_host(host: &str) -> Result<String, Refusal> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    let digits_only = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits_only(host)
        || host
            .split_once('-')
            .is_some_and(|(a, b)| digits_only(a) && digits_only(b))
    {
        return Err(("ports without a host".into(), HOST_FIRST));
    }
    if host.contains("..") {
        return Err(("a range without a host".into(), HOST_FIRST));
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let label_fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() > HOST_BYTES_MAX || !name.split('.').all(label_fits) {
        return Err((
            "neither an IP address nor a host name".into(),
            "host names are letters, digits, dashes and dots",
        ));
    }
    if name.rsplit('.').next().is_some_and(digits_only) {
        return Err((
            "not a whole IPv4 address".into(),
            "write four numbers from 0 to 255",
        ));
    }
    Ok(host.to_ascii_lowercase())
}

fn parse_ports(text: &str) -> Result<RangeInclusive<u16>, Refusal> {
    const RANGE: &str =
        "write port1..port2 with both ports from 1 to 65535, the first below the second";
    let Some((first, last)) = text.split_once("..") else {
        if text.contains('-') && !text.starts_with('-') {
            return Err(("a range is written with two dots".into(), RANGE));
        }
        return Ok(match parse_port(text)? {
            0 => DEFAULT_PORTS,
            port => port..=port,
        });
    };
    if first.is_empty() || last.is_empty() {
        return Err(("half a range".into(), RANGE));
    }
    let (first, last) = (parse_port(first)?, parse_port(last)?);
    if first == 0 || last == 0 {
        return Err(("port 0 in a range".into(), RANGE));
    }
    if first == last {
        return Err((
            format!("a range from {first} to itself"),
            "write the port alone",
        ));
    }
    if first > last {
        return Err((
            format!("a range that goes down from {first} to {last}"),
            RANGE,
        ));
    }
    let ports = first..=last;
    if ports.len() > ENDPOINTS_MAX {
        return Err((
            format!(
                "a range of {} ports, where {ENDPOINTS_MAX} are allowed",
                ports.len()
            ),
            "name only the ports that nodes use",
        ));
    }
    Ok(ports)
}

fn parse_port(text: &str) -> Result<u16, Refusal> {
    const PORT: &str = "ports are whole numbers from 0 to 65535";
    if text.is_empty() {
        return Err((
            "a colon without a port".into(),
            "write the port or take out the colon",
        ));
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) || digits.is_empty() {
        return Err(("a port that is not a number".into(), PORT));
    }
    if text.starts_with('-') {
        return Err(("a negative port".into(), PORT));
    }
    text.parse()
        .map_err(|_| ("a port above 65535".to_owned(), PORT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(text: &str) -> Vec<(String, u16)> {
        AddressList::parse(text).expect(text).endpoints()
    }

    #[test]
    fn every_form_is_read() {
        for (text, host, ports) in [
            ("localhost", "localhost", 47500..=47509),
            ("localhost:0", "localhost", 47500..=47509),
            (
                "Node-1.Example.org:47500",
                "node-1.example.org",
                47500..=47500,
            ),
            ("host:1..65", "host", 1..=65),
            ("10.0.0.7", "10.0.0.7", 47500..=47509),
            ("10.0.0.7:65535", "10.0.0.7", 65535..=65535),
            ("10.0.0.7:47500..47502", "10.0.0.7", 47500..=47502),
            ("::1", "::1", 47500..=47509),
            ("[::1]", "::1", 47500..=47509),
            ("[0:0:0:0:0:0:0:1]:5", "::1", 5..=5),
            ("[fe80::1]:5..7", "fe80::1", 5..=7),
            (" host ", "host", 47500..=47509),
            ("host.:9", "host.", 9..=9),
        ] {
            let address = Address::parse(text).expect(text);
            assert_eq!(
                (address.host.as_str(), address.ports.clone()),
                (host, ports),
                "{text}"
            );
            assert_eq!(Address::parse(&address.to_string()), Ok(address), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused_by_name() {
        for (text, word) in [
            ("", "empty entry"),
            ("  ", "empty entry"),
            ("a b", "blank inside"),
            ("host: 5", "blank inside"),
            ("host:5..5", "itself"),
            ("host:6..5", "goes down"),
            ("host:5..", "half a range"),
            ("host:..5", "half a range"),
            ("host:..", "half a range"),
            ("host:1-3", "two dots"),
            ("1-3", "without a host"),
            ("47500", "without a host"),
            (":47500", "no host"),
            (":abc", "no host"),
            ("host:abc", "not a number"),
            ("host:", "without a port"),
            ("host:-1", "negative"),
            ("host:+1", "not a number"),
            ("host:65536", "above 65535"),
            ("host:99999999999999999999", "above 65535"),
            ("host:0..5", "port 0"),
            ("host:5..70000", "above 65535"),
            ("host:1..2..3", "not a number"),
            ("host:1...3", "not a number"),
            ("host:1..65535", "1024 are allowed"),
            ("::1:47500:x", "more than one colon"),
            ("host:1:2", "more than one colon"),
            ("[::1", "not closed"),
            ("[host]:5", "between the brackets"),
            ("[::1]5", "after the bracket"),
            ("[::1]:", "without a port"),
            ("47500..47509", "without a host"),
            ("1.2.3", "not a whole IPv4"),
            ("256.1.1.1", "not a whole IPv4"),
            ("-host", "nor a host name"),
            ("ho$t", "nor a host name"),
            ("h\u{f6}st", "nor a host name"),
            ("0.0.0.0", "no single node"),
            ("[::]:5", "no single node"),
            ("224.0.0.1", "no single node"),
        ] {
            let refused = Address::parse(text).expect_err(text);
            assert!(refused.what.contains(word), "{text}: {refused}");
            assert!(!refused.cure.is_empty());
        }
    }

    #[test]
    fn lists_expand_without_doubles_in_their_order() {
        let expected = [("b", 2), ("b", 3), ("a", 1), ("b", 4)];
        let expected: Vec<_> = expected.map(|(host, port)| (host.to_owned(), port)).into();
        assert_eq!(endpoints("b:2..3, a:1,A:1, b:3..4"), expected);
        assert_eq!(endpoints("[::1]:1,[0::1]:1").len(), 1);
        assert_eq!(AddressList::default().endpoints().len(), 10);
        assert!(
            AddressList::of([])
                .expect("an empty list")
                .endpoints()
                .is_empty()
        );
    }

    #[test]
    fn all_refusals_come_at_once_and_lists_are_bounded() {
        let refused = AddressList::parse("a:1,,b:x,c:9..1").expect_err("three bad entries");
        assert_eq!(refused.len(), 3);
        let refused = AddressList::parse("a:1..1000,b:1..1000").expect_err("too many ports");
        assert!(refused[0].what.contains("1024"), "{}", refused[0]);
        let many = vec!["x:1:1"; 100_000].join(",");
        assert!(AddressList::parse(&many).expect_err("bad entries").len() <= ENDPOINTS_MAX);
    }

    #[test]
    fn loopback_is_told_by_form() {
        for (text, loopback) in [
            ("localhost,127.0.0.9,[::1]:5", true),
            ("localhost,host", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(
                AddressList::parse(text).expect(text).loopback_only(),
                loopback,
                "{text}"
            );
        }
    }
}
