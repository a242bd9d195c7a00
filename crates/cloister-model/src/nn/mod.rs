//! The layers, from the inside out.

pub mod activation;
pub mod attention;
pub mod block;
pub mod codegen;
pub mod layer_norm;
pub mod line_pointer;
pub mod linear;
pub mod rotary;
