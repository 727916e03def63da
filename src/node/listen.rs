//! Where a node listens and what it tells its peers of that.

use crate::config::Settings;
use crate::error::{Error, ErrorKind, Result};
use crate::rpc::names::join_address;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs, UdpSocket};

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
pub(super) fn bind(settings: &Settings) -> Result<Bound> {
    let ip = local_ip(settings)?;
    let ports = settings.discovery.local_port.candidates();
    let mut last = None;
    for port in ports.clone() {
        match TcpListener::bind((ip, port)) {
            Ok(listener) => return announce(settings, listener),
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

fn local_ip(settings: &Settings) -> Result<IpAddr> {
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
    if let Ok(ip) = host.parse() {
        return Ok(ip);
    }
    let resolved = (host.as_str(), 0)
        .to_socket_addrs()
        .ok()
        .and_then(|mut all| all.next());
    resolved
        .map(|address| address.ip())
        .ok_or_else(|| Error::invalid(format!("discovery.local-address {host:?} does not resolve")))
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
    use crate::config::LocalPort;

    fn settings() -> Settings {
        let mut settings = Settings::default();
        settings.discovery.local_port = LocalPort::System;
        settings
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
