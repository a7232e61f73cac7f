//! What crosses the wire between us and the forge: deliveries in, words out.

mod events;
mod gate;
mod published;
mod signature;
mod words;

const SHA: &str = "0123456789abcdef0123456789abcdef01234567";
