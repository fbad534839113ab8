//! What the lab is told to run.

use std::{
    ffi::OsString,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use super::enforcer::Enforce;

/// What to run, and how.
#[derive(Debug, Clone)]
pub struct LabPlan {
    /// The service's program.
    pub program: PathBuf,
    /// Its arguments; they make it listen on `address`.
    pub arguments: Vec<OsString>,
    /// Where it listens; the port is known.
    pub address: SocketAddr,
    /// Its memory limit.
    pub limit_bytes: u64,
    /// Who is to hold it to that.
    pub enforce: Enforce,
    /// Said once, when it is ready for the first time.
    pub welcome: String,
}

/// An address under which a service that listens on `address` can be reached from this machine.
pub fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}
