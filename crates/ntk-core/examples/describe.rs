//! What does a network look like before anything is computed?
//!
//! Builds a residual network, shows it, its shapes and facts, and takes it through a file.

#![allow(clippy::print_stdout)] // an example prints

use ntk_core::{Activation, Net, Shape, Variance};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bias = Variance::new(0.05)?;
    let block = || {
        let phi = Net::activation(Activation::ERF);
        Net::layer_norm().then(phi).then(Net::dense(Variance::ONE, bias)).residual()
    };
    let net = Net::serial([
        Net::dense(Variance::ONE, bias),
        block(),
        block(),
        block(),
        Net::activation(Activation::Relu),
        Net::readout(10, Variance::TWO, Variance::ZERO),
    ]);
    println!("{net}\n");

    let facts = net.facts();
    println!("{:<14} {:?}", "law", facts.law);
    println!("{:<14} {:?}", "mean", facts.mean);
    println!("{:<14} {}", "affine layers", facts.depth);
    println!("{:<14} {}", "outputs", net.output_shape(&Shape::vector(784))?.channels());

    // One description, many widths: n stays a symbol until a network is drawn.
    let json = net.to_json();
    let back = Net::from_json(&json)?;
    println!("{:<14} {} bytes of JSON, read back equal: {}", "file", json.len(), back == net);
    println!("\nat n = 256:\n{}", back.at_width(256));

    // A mistake in a file is refused with its place.
    match Net::from_json(&json.replacen("layer_norm", "layer_nrom", 1)) {
        Err(error) => println!("\nrefused: {error}"),
        Ok(_) => return Err("a misspelt layer must be refused".into()),
    }
    Ok(())
}
