//! The file loader from outside: conformance, formats, single files and folders.

mod conformance;
