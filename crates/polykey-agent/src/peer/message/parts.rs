//! What requests and answers have in common: reading and writing of bounded parts.

use polykey_core::VaultName;
use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_trust::link::MAX_LINK_LEN;
use polykey_vault::charter::Role;

use super::{MAX_PLACES, MAX_STATEMENT_LEN};
use crate::contacts::Place;

pub(super) fn statement(from: &mut Reader<'_>) -> Result<Vec<u8>, CodecError> {
    let bytes = from.bytes()?;
    if bytes.is_empty() || bytes.len() > MAX_STATEMENT_LEN {
        return Err(from.shape());
    }
    Ok(bytes.to_vec())
}

pub(super) fn link(from: &mut Reader<'_>) -> Result<Vec<u8>, CodecError> {
    let bytes = statement(from)?;
    match bytes.len() {
        0..=MAX_LINK_LEN => Ok(bytes),
        _ => Err(from.shape()),
    }
}

pub(super) fn bounded(from: &mut Reader<'_>, most: usize) -> Result<usize, CodecError> {
    let len = from.array()?;
    if len > most { Err(from.shape()) } else { Ok(len) }
}

pub(super) fn name(from: &mut Reader<'_>) -> Result<String, CodecError> {
    let text = from.text()?;
    if !text.is_empty() && VaultName::parse(text).is_err() {
        return Err(from.shape());
    }
    Ok(text.to_owned())
}

pub(super) fn role(from: &mut Reader<'_>) -> Result<Role, CodecError> {
    let number = from.u64()?;
    Role::from_number(number).ok_or_else(|| from.shape())
}

/// `[number, statement or null]`.
pub(super) fn optional(from: &mut Reader<'_>, number: u64) -> Result<Option<Vec<u8>>, CodecError> {
    from.array_of(2)?;
    from.key(number)?;
    match from.null()? {
        true => Ok(None),
        false => statement(from).map(Some),
    }
}

pub(super) fn write_optional(out: &mut Writer, number: u64, statement: Option<&[u8]>) {
    out.array(2).u64(number);
    match statement {
        Some(statement) => out.bytes(statement),
        None => out.null(),
    };
}

pub(super) fn places(from: &mut Reader<'_>) -> Result<Vec<Place>, CodecError> {
    let mut places = Vec::new();
    for _ in 0..bounded(from, MAX_PLACES)? {
        places.push(from.text()?.parse().map_err(|_| from.shape())?);
    }
    Ok(places)
}

pub(super) fn write_places(out: &mut Writer, places: &[Place]) {
    out.array(places.len());
    for place in places {
        out.text(&place.to_string());
    }
}
