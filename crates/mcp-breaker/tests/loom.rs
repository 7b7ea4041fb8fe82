//! Under loom.
#![cfg(loom)]
