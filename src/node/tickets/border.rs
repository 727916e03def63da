//! The border between tickets as callers see them and tickets as they are stored: what their kind says
//! where they do not, digests that stand for ids and terms, and what is sealed.

use super::super::sealing::{Sealing, Term};
use super::look_ups::Wanted;
use super::{Tickets, not_found};
use crate::config::tickets::TicketKind;
use crate::error::{Error, ErrorKind, Result};
use crate::types::ticket::stored::{Stored, StoredLink};
use crate::types::ticket::{Expiration, Ticket, TicketFilter, TicketRecord};
use crate::types::{Blob, EntryView, Reply};

impl Tickets {
    fn sealing(&self) -> Option<&Sealing> {
        self.handle.core.sealing.as_ref()
    }

    /// Whether digests stand for ids.
    pub fn digests_ids(&self) -> bool {
        self.sealing().is_some()
    }

    /// The key of an id.
    pub(super) fn key(&self, id: &[u8]) -> Blob {
        match self.sealing() {
            Some(sealing) => sealing.digest(Term::Id, id),
            None => Blob::from(id),
        }
    }

    pub(super) fn term(&self, term: Term, bytes: &Blob) -> Blob {
        match self.sealing() {
            Some(sealing) => sealing.digest(term, bytes),
            None => bytes.clone(),
        }
    }

    fn attributes<'a>(
        &self,
        attributes: impl IntoIterator<Item = (&'a String, &'a Vec<Blob>)>,
    ) -> impl Iterator<Item = (Blob, Vec<Blob>)> {
        attributes.into_iter().map(|(name, values)| {
            let name = self.term(Term::AttributeName, &Blob::from(name.as_str()));
            let values = values.iter();
            let values = values.map(|value| self.term(Term::AttributeValue, value));
            (name, values.collect())
        })
    }

    /// What is stored of a ticket.
    pub(super) fn record(
        &self,
        ticket: &Ticket,
        key: &Blob,
        expiration: Expiration,
    ) -> Result<TicketRecord> {
        let mut record = TicketRecord {
            kind: Blob::from(ticket.kind.as_str()),
            principal: self.term(Term::Principal, &ticket.principal),
            service: self.term(Term::Service, &ticket.service),
            attributes: self.attributes(&ticket.attributes).collect(),
            payload: ticket.payload.clone(),
            time_to_live: expiration.max_time_to_live,
            time_to_idle: expiration.max_time_to_idle,
            max_uses: expiration.max_uses,
            ..TicketRecord::default()
        };
        if let Some(sealing) = self.sealing() {
            let attributes = ticket.attributes.iter();
            let attributes =
                attributes.map(|(name, values)| (Blob::from(name.as_str()), values.clone()));
            let clear = TicketRecord {
                principal: ticket.principal.clone(),
                service: ticket.service.clone(),
                attributes: attributes.collect(),
                payload: ticket.payload.clone(),
                ..TicketRecord::default()
            };
            record.payload = sealing.seal(&clear.encode(), key)?;
            record.name = sealing.seal(&ticket.id, key)?;
        }
        Ok(record)
    }

    fn named(&self, key: &[u8], name: &[u8]) -> Result<Blob> {
        match self.sealing() {
            Some(sealing) if !name.is_empty() => Ok(Blob::from(sealing.open(name, key)?)),
            _ => Ok(Blob::from(key)),
        }
    }

    /// A ticket as callers see it; none where the entry is something else.
    ///
    /// # Errors
    ///
    /// `DataLoss` where it cannot be decrypted.
    pub fn show(&self, entry: &EntryView) -> Result<Option<Ticket>> {
        let Some(ticket) = Stored::read(&entry.value) else {
            return Ok(None);
        };
        let link = |link: Option<StoredLink<'_>>| match link {
            Some(link) => self.named(link.key, link.name),
            None => Ok(Blob::default()),
        };
        let opened = match self.sealing() {
            Some(sealing) => Some(sealing.open(ticket.payload, &entry.key)?),
            None => None,
        };
        let clear = match &opened {
            Some(clear) => Some(Stored::read(clear).ok_or_else(|| {
                Error::new(ErrorKind::DataLoss, "the encrypted ticket is damaged")
            })?),
            None => None,
        };
        let said = clear.as_ref().unwrap_or(&ticket);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let attributes = said
            .attributes()
            .map(|(name, values)| (text(name), values.map(Blob::from).collect()));
        let at = |distance: i64| entry.created_at.shifted(distance);
        Ok(Some(Ticket {
            id: self.named(&entry.key, ticket.name)?,
            kind: text(ticket.kind),
            principal: Blob::from(said.principal),
            service: Blob::from(said.service),
            parent_id: link(ticket.parent)?,
            root_id: link(ticket.root)?,
            attributes: attributes.collect(),
            expiration: Some(Expiration {
                max_time_to_live: ticket.time_to_live,
                max_time_to_idle: ticket.time_to_idle,
                max_uses: ticket.max_uses,
                hard_expire_at: ticket.hard_end.map(at),
            }),
            payload: Blob::from(said.payload),
            version: entry.version,
            created_at: Some(at(ticket.created)),
            last_used_at: Some(entry.last_access_at),
            expires_at: [entry.expires_at, entry.idle_expires_at]
                .into_iter()
                .flatten()
                .min(),
            uses: ticket.uses,
            incarnation: ticket.incarnation,
        }))
    }

    pub(super) fn shown(&self, reply: Reply) -> Result<Ticket> {
        let Reply::Got { entry } = reply else {
            return Err(Error::new(
                ErrorKind::Internal,
                "the node answered another question",
            ));
        };
        let entry = entry.ok_or_else(not_found)?;
        self.show(&entry)?.ok_or_else(not_found)
    }

    /// What holds for a ticket: what it says, and the defaults of its kind for the rest.
    pub(super) fn completed(kind: &TicketKind, given: Option<Expiration>) -> Expiration {
        let given = given.unwrap_or_default();
        Expiration {
            max_time_to_live: given.max_time_to_live.or(kind.max_time_to_live),
            max_time_to_idle: given.max_time_to_idle.or(kind.max_time_to_idle),
            max_uses: given.max_uses.or(kind.max_uses),
            hard_expire_at: given.hard_expire_at,
        }
    }

    pub(super) fn filter(&self, wanted: &Wanted) -> TicketFilter {
        TicketFilter {
            kind: Blob::from(wanted.kind.as_str()),
            principal: self.term(Term::Principal, &wanted.principal),
            service: self.term(Term::Service, &wanted.service),
            attributes: self.attributes(&wanted.attributes).collect(),
        }
    }
}
