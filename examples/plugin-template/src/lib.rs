//! examples/plugin-template
