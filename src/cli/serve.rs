//! `relay serve`: runs the relay.
