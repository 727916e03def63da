//! What nodes tell of themselves.

use super::limits::{ADDRESS_BYTES_MAX, ATTRIBUTES_MAX, NAME_BYTES_MAX, PROGRAM_VERSION_BYTES_MAX};
use super::{limits, version};
use crate::error::{Error, Result};
use crate::rpc::proto;
use crate::types::{NodeInfo, Role};
use std::collections::{BTreeMap, HashMap};

/// A node.
pub fn encode(info: &NodeInfo) -> proto::NodeInfo {
    proto::NodeInfo {
        member: version::some_member(info.member),
        consistent_id: info.consistent_id.clone(),
        address: info.address.clone(),
        role: encode_role(info.role).into(),
        attributes: encode_attributes(&info.attributes),
        program_version: info.program_version.clone(),
        started_at: info.started_at,
        certificate_expires_at: info.certificate_expires_at,
        protocol: info.protocol,
        lease: info.lease,
    }
}

/// A node.
///
/// # Errors
///
/// `InvalidArgument`, naming what is too long or not known.
pub fn decode(sent: proto::NodeInfo) -> Result<NodeInfo> {
    limits::at_most(
        sent.consistent_id.len(),
        NAME_BYTES_MAX,
        "consistent_id",
        "bytes",
    )?;
    limits::at_most(sent.address.len(), ADDRESS_BYTES_MAX, "address", "bytes")?;
    let program = sent.program_version.len();
    limits::at_most(
        program,
        PROGRAM_VERSION_BYTES_MAX,
        "program_version",
        "bytes",
    )?;
    Ok(NodeInfo {
        member: version::member_or_zero(sent.member),
        role: role(sent.role)?,
        attributes: attributes(sent.attributes, "attributes")?,
        consistent_id: sent.consistent_id,
        address: sent.address,
        program_version: sent.program_version,
        started_at: sent.started_at,
        certificate_expires_at: sent.certificate_expires_at,
        protocol: sent.protocol,
        lease: sent.lease,
    })
}

/// A role.
pub fn encode_role(role: Role) -> proto::NodeRole {
    match role {
        Role::Server => proto::NodeRole::Server,
        Role::Client => proto::NodeRole::Client,
    }
}

/// A role.
///
/// # Errors
///
/// `InvalidArgument` for one that is not known or not said.
pub fn role(sent: i32) -> Result<Role> {
    match proto::NodeRole::try_from(sent) {
        Ok(proto::NodeRole::Server) => Ok(Role::Server),
        Ok(proto::NodeRole::Client) => Ok(Role::Client),
        Ok(proto::NodeRole::Unspecified) | Err(_) => {
            Err(Error::invalid(format!("role: {sent} is not known")))
        }
    }
}

/// Attributes.
pub fn encode_attributes(attributes: &BTreeMap<String, String>) -> HashMap<String, String> {
    attributes
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Attributes: at most 64, with names and values of at most 255 bytes.
///
/// # Errors
///
/// `InvalidArgument`, naming the field.
pub fn attributes(sent: HashMap<String, String>, field: &str) -> Result<BTreeMap<String, String>> {
    limits::at_most(sent.len(), ATTRIBUTES_MAX, field, "elements")?;
    for (name, value) in &sent {
        limits::at_most(name.len().max(value.len()), NAME_BYTES_MAX, field, "bytes")?;
    }
    Ok(sent.into_iter().collect())
}
