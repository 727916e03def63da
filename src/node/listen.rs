//! Where a node listens and what it tells its peers of that.

use crate::config::Settings;
use crate::error::{Error, ErrorKind, Result};
use crate::rpc::names::{Names, join_address};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

/// A bound listener and the address that peers are told.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) listener: TcpListener,
    pub(super) advertised: String,
}

/// Binds the first free of the ports that the settings allow.
///
/// # Errors
///
/// `InvalidArgument` where the local address is none of this machine's, or TLS is off and it is
/// not on loopback; `Unavailable` where every port is taken.
///
/// Blocks for `socket-timeout` at most where the local address is a name.
pub(super) fn bind(settings: &Settings, names: &Names) -> Result<Bound> {
    let ip = local_ip(settings, names)?;
    let ports = settings.discovery.local_port.candidates();
    let mut last = None;
    for port in ports.clone() {
        match TcpListener::bind((ip, port)) {
            Ok(listener) => return announce(settings, listener),
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                return Err(Error::invalid(foreign(settings, ip)));
            }
            Err(error) => last = Some(error),
        }
    }
    let why = last.map_or_else(String::new, |error| format!(": {error}"));
    let (first, end) = (ports.start(), ports.end());
    Err(Error::unavailable(format!(
        "no port of {ip}:{first}..{end} can be listened on{why}"
    )))
}

/// Takes a listener that was bound by the caller.
///
/// # Errors
///
/// `InvalidArgument` where TLS is off and it is not on loopback; `Internal` where the socket
/// cannot be used.
pub(super) fn announce(settings: &Settings, listener: TcpListener) -> Result<Bound> {
    let unusable = |error| Error::new(ErrorKind::Internal, format!("the listener: {error}"));
    let bound = listener.local_addr().map_err(unusable)?;
    if !settings.tls.enabled && !bound.ip().is_loopback() {
        return Err(Error::invalid(format!(
            "tls.enabled = false is allowed on loopback only, and this node would listen on {bound}"
        )));
    }
    listener.set_nonblocking(true).map_err(unusable)?;
    let host = match &settings.discovery.local_address {
        Some(host) => host.clone(),
        None if bound.ip().is_unspecified() => outer_ip(bound).to_string(),
        None => bound.ip().to_string(),
    };
    Ok(Bound {
        listener,
        advertised: join_address(&host, bound.port()),
    })
}

/// What to do about a local address that this machine does not have.
fn foreign(settings: &Settings, ip: IpAddr) -> String {
    let given = match &settings.discovery.local_address {
        Some(host) if *host == ip.to_string() => format!("discovery.local-address {host} is"),
        Some(host) => format!("discovery.local-address {host:?} resolves to {ip}, which is"),
        None => format!("{ip} is"),
    };
    format!(
        "{given} no address of this machine: give one that it has, or leave \
         discovery.local-address out to listen on all of them"
    )
}

fn local_ip(settings: &Settings, names: &Names) -> Result<IpAddr> {
    let Some(host) = &settings.discovery.local_address else {
        let list = &settings.discovery.addresses;
        let v6 = list
            .entries()
            .iter()
            .all(|entry| entry.host.parse::<Ipv6Addr>().is_ok());
        return Ok(
            match (list.loopback_only(), v6 && !list.entries().is_empty()) {
                (true, true) => Ipv6Addr::LOCALHOST.into(),
                (true, false) => Ipv4Addr::LOCALHOST.into(),
                (false, true) => Ipv6Addr::UNSPECIFIED.into(),
                (false, false) => Ipv4Addr::UNSPECIFIED.into(),
            },
        );
    };
    let limit = settings.discovery.socket_timeout;
    let resolved = names.resolve_blocking(host, limit).and_then(|all| {
        let first = all.first().copied();
        first.ok_or_else(|| format!("{host} does not resolve: it has no address"))
    });
    resolved.map_err(|why| {
        Error::invalid(format!(
            "discovery.local-address: {why}; give an address, or a name that this machine knows"
        ))
    })
}

/// Whether an endpoint of the address list cannot be this node, which listens on `own`: another
/// port, or an address that this machine does not have. Of a name nothing is known here.
pub(super) fn is_elsewhere((host, port): &(String, u16), own: SocketAddr) -> bool {
    let foreign = |ip: IpAddr| UdpSocket::bind((ip, 0)).is_err();
    *port != own.port() || host.parse().is_ok_and(foreign)
}

/// The address by which this machine reaches others: that of the interface which the system
/// would send by. Nothing is sent to find out.
fn outer_ip(bound: SocketAddr) -> IpAddr {
    let (any, far): (IpAddr, IpAddr) = if bound.is_ipv6() {
        (
            Ipv6Addr::UNSPECIFIED.into(),
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
        )
    } else {
        (
            Ipv4Addr::UNSPECIFIED.into(),
            Ipv4Addr::new(192, 0, 2, 1).into(),
        )
    };
    let found = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((far, 9))?;
        socket.local_addr()
    });
    match found {
        Ok(address) if !address.ip().is_unspecified() => address.ip(),
        _ => {
            tracing::warn!("no interface but loopback was found; set discovery.local-address");
            if bound.is_ipv6() {
                Ipv6Addr::LOCALHOST.into()
            } else {
                Ipv4Addr::LOCALHOST.into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AddressList, LocalPort};
    use crate::rpc::names::split_address;
    use std::sync::Arc;

    fn settings() -> Settings {
        let mut settings = Settings::default();
        settings.discovery.local_port = LocalPort::System;
        settings
    }

    fn bind(settings: &Settings) -> Result<Bound> {
        super::bind(settings, &Names::default())
    }

    /// One of the addresses for documentation: nobody has it.
    const NOWHERE: &str = "192.0.2.77";

    #[test]
    fn a_given_address_is_listened_on_and_told() {
        let mut settings = settings();
        for (given, told) in [("127.0.0.2", "127.0.0.2"), ("here", "here")] {
            settings.discovery.local_address = Some(given.to_owned());
            let names = Names::by(Arc::new(|_| Ok(vec![[127, 0, 0, 2].into()])));
            let bound = super::bind(&settings, &names).expect("a free port");
            let address = bound.listener.local_addr().expect("an address");
            assert_eq!(address.ip(), IpAddr::from([127, 0, 0, 2]));
            assert_eq!(bound.advertised, format!("{told}:{}", address.port()));
        }
    }

    #[test]
    fn who_listens_everywhere_tells_an_address_that_others_reach() {
        let mut settings = settings();
        settings.discovery.addresses = AddressList::of(["192.0.2.1"]).expect("an address");
        let bound = bind(&settings).expect("a free port");
        let address = bound.listener.local_addr().expect("an address");
        assert!(address.ip().is_unspecified());
        let (host, port) = split_address(&bound.advertised).expect("an address");
        assert_eq!(port, address.port());
        let ip: IpAddr = host.parse().expect("an IP address");
        assert!(!ip.is_unspecified());
        assert!(
            UdpSocket::bind((ip, 0)).is_ok(),
            "{ip} is not of this machine"
        );
    }

    #[test]
    fn an_address_that_is_foreign_or_unknown_is_refused_with_its_cure() {
        let foreign = Names::by(Arc::new(|_| Ok(vec![NOWHERE.parse().expect("an address")])));
        let empty = Names::by(Arc::new(|_| Ok(vec![])));
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let ended = parking_lot::Mutex::new(ended);
        let hangs = Names::by(Arc::new(move |_| {
            let _ = ended.lock().recv();
            Ok(vec![])
        }));
        let mut settings = settings();
        for (given, names, limit, word) in [
            (
                NOWHERE,
                &empty,
                60_000,
                "192.0.2.77 is no address of this machine",
            ),
            ("away", &empty, 60_000, "away does not resolve"),
            ("away", &hangs, 1, "away was not resolved within 1ms"),
        ] {
            settings.discovery.socket_timeout = std::time::Duration::from_millis(limit);
            settings.discovery.local_address = Some(given.to_owned());
            let error = super::bind(&settings, names).expect_err("refused");
            assert_eq!(error.kind, ErrorKind::InvalidArgument);
            let text = error.to_string();
            assert!(text.contains(word) && text.contains("give "), "{text}");
        }
        settings.discovery.socket_timeout = std::time::Duration::from_secs(60);
        let error = super::bind(&settings, &foreign).expect_err("refused");
        assert!(
            error
                .to_string()
                .contains("\"away\" resolves to 192.0.2.77")
        );
        drop(end);
    }

    #[test]
    fn only_what_may_be_this_node_is_not_elsewhere() {
        let own: SocketAddr = "0.0.0.0:47500".parse().expect("an address");
        for (host, port, elsewhere) in [
            ("127.0.0.1", 47500, false),
            ("127.0.0.1", 47501, true),
            (NOWHERE, 47500, true),
            ("some-name", 47500, false),
            ("some-name", 47501, true),
        ] {
            assert_eq!(
                is_elsewhere(&(host.to_owned(), port), own),
                elsewhere,
                "{host}:{port}"
            );
        }
    }

    #[test]
    fn a_loopback_list_listens_on_loopback() {
        let bound = bind(&settings()).expect("a free port");
        let address = bound.listener.local_addr().expect("an address");
        assert_eq!(bound.advertised, address.to_string());
        assert!(address.ip().is_loopback());
    }

    #[test]
    fn a_taken_port_is_passed_over() {
        let first = bind(&settings()).expect("a free port");
        let port = first.listener.local_addr().expect("an address").port();
        let mut settings = settings();
        settings.discovery.local_port = LocalPort::From(port);
        match bind(&settings) {
            Ok(second) => {
                let address = second.listener.local_addr().expect("an address");
                assert!(address.port() > port);
            }
            Err(error) => assert_eq!(error.kind, ErrorKind::Unavailable),
        }
    }

    #[test]
    fn plain_text_stays_on_loopback() {
        let mut settings = settings();
        settings.tls.enabled = false;
        assert!(bind(&settings).is_ok());
        settings.discovery.local_address = Some("0.0.0.0".to_owned());
        assert_eq!(
            bind(&settings).expect_err("refused").kind,
            ErrorKind::InvalidArgument
        );
    }
}
