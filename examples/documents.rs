//! The code in the documents of the repository, tested.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../docs/aggregator.md")]
struct Aggregator;

#[cfg(doctest)]
#[doc = include_str!("../docs/from-rmcp.md")]
struct FromRmcp;
