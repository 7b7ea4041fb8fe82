//! The command as its users meet it: the real binary, in a home folder of its own.

mod audit;
mod auth;
mod doctor;
mod exit_codes;
mod home;
