//! Programs as documents: every line with its names, read through the builder so that a file cannot say what a program
//! cannot.

use std::collections::HashMap;

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::{Builder, Error, Expr, Line, Program, ScalarId, ScalarOp, VectorId, VectorOp};

/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    program: Vec<Statement>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Statement {
    Matrix {
        name: String,
        variance: f64,
        rate: f64,
    },
    Inputs {
        names: Vec<String>,
        mean: Vec<f64>,
        covariance: Vec<Vec<f64>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tangent: Option<Vec<Vec<f64>>>,
    },
    Dimension {
        vector: String,
        name: String,
        ratio: f64,
    },
    Matmul {
        name: String,
        matrix: String,
        #[serde(default)]
        transposed: bool,
        vector: String,
    },
    Combine {
        name: String,
        terms: Vec<(f64, String)>,
    },
    Apply {
        name: String,
        f: Expr,
        vectors: Vec<String>,
        #[serde(default)]
        scalars: Vec<String>,
    },
    Moment {
        name: String,
        f: Expr,
        vectors: Vec<String>,
        #[serde(default)]
        scalars: Vec<String>,
    },
    Function {
        name: String,
        f: Expr,
        scalars: Vec<String>,
    },
    Output {
        name: String,
        /// Readout and state of each part.
        parts: Vec<(String, String)>,
    },
}

fn rows(matrix: &Array2<f64>) -> Vec<Vec<f64>> {
    matrix.rows().into_iter().map(|row| row.to_vec()).collect()
}

fn matrix(line: usize, rows: Vec<Vec<f64>>) -> Result<Array2<f64>, Error> {
    let (n, m) = (rows.len(), rows.first().map_or(0, Vec::len));
    let values: Vec<f64> = rows.into_iter().flatten().collect();
    Array2::from_shape_vec((n, m), values)
        .map_err(|_| Error::Law { line, reason: "the rows of a matrix differ in length".to_owned() })
}

impl Program {
    /// The program as a JSON document `{"version": 1, "program": [...]}`, one object for each line.
    pub fn to_json(&self) -> String {
        let program = self.lines.iter().map(|line| self.statement(line)).collect();
        // Names, numbers and lists are always JSON.
        serde_json::to_string_pretty(&Document { version: VERSION, program }).unwrap_or_default()
    }

    fn statement(&self, line: &Line) -> Statement {
        let vector = |x: &VectorId| self.name(*x).to_owned();
        let all = |xs: &[VectorId]| xs.iter().map(vector).collect::<Vec<_>>();
        let scalars = |s: &[ScalarId]| s.iter().map(|s| self.scalar_name(*s).to_owned()).collect::<Vec<_>>();
        match line {
            Line::Matrix(id) => {
                let m = &self.matrices[id.0];
                Statement::Matrix { name: m.name.clone(), variance: m.variance, rate: m.rate }
            }
            Line::Inputs(group) => {
                let inputs = &self.inputs[*group];
                Statement::Inputs {
                    names: all(&inputs.vectors),
                    mean: inputs.mean.clone(),
                    covariance: rows(&inputs.covariance),
                    tangent: inputs.tangent.as_ref().map(rows),
                }
            }
            Line::Dimension { vector: x, name, ratio } => {
                Statement::Dimension { vector: vector(x), name: name.clone(), ratio: *ratio }
            }
            Line::Vector(id) => {
                let name = vector(id);
                match &self.vectors[id.0].op {
                    VectorOp::MatMul { matrix, transposed, vector: x } => Statement::Matmul {
                        name,
                        matrix: self.matrices[matrix.0].name.clone(),
                        transposed: *transposed,
                        vector: vector(x),
                    },
                    VectorOp::Nonlin { f, vectors, scalars: s } => {
                        Statement::Apply { name, f: f.clone(), vectors: all(vectors), scalars: scalars(s) }
                    }
                    VectorOp::LinComb(terms) => {
                        let terms = terms.iter().map(|(a, x)| (*a, vector(x))).collect();
                        Statement::Combine { name, terms }
                    }
                    // Inputs stand in lines of their own.
                    VectorOp::Input { .. } => Statement::Combine { name, terms: Vec::new() },
                }
            }
            Line::Scalar(id) => {
                let name = self.scalar_name(*id).to_owned();
                match &self.scalars[id.0].op {
                    ScalarOp::Moment { f, vectors, scalars: s } => {
                        Statement::Moment { name, f: f.clone(), vectors: all(vectors), scalars: scalars(s) }
                    }
                    ScalarOp::Function { f, scalars: s } => {
                        Statement::Function { name, f: f.clone(), scalars: scalars(s) }
                    }
                }
            }
            Line::Output(k) => {
                let output = &self.outputs[*k];
                let parts = output.parts.iter().map(|(v, x)| (vector(v), vector(x))).collect();
                Statement::Output { name: output.name.clone(), parts }
            }
        }
    }

    /// Reads a document of [`Program::to_json`], line by line through the [`Builder`].
    ///
    /// # Errors
    /// [`Error::Json`] for what is no such document, and those of the builder for a line that is wrong.
    pub fn from_json(text: &str) -> Result<Program, Error> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let read = serde_path_to_error::deserialize(&mut reader);
        let document: Document = read.map_err(|e| Error::Json { reason: e.to_string() })?;
        reader.end().map_err(|e| Error::Json { reason: e.to_string() })?;
        if document.version != VERSION {
            let reason = format!("version {} is not {VERSION}", document.version);
            return Err(Error::Json { reason });
        }
        let mut replay = Replay::default();
        for (k, statement) in document.program.into_iter().enumerate() {
            replay.line = k + 1;
            replay.read(statement)?;
        }
        Ok(replay.builder.finish())
    }
}

/// Names of what was read so far.
#[derive(Default)]
struct Replay {
    builder: Builder,
    line: usize,
    matrices: HashMap<String, super::MatrixId>,
    vectors: HashMap<String, VectorId>,
    scalars: HashMap<String, ScalarId>,
}

impl Replay {
    fn get<T: Copy>(&self, from: &HashMap<String, T>, name: &str) -> Result<T, Error> {
        let undefined = || Error::Undefined { line: self.line, name: name.to_owned() };
        from.get(name).copied().ok_or_else(undefined)
    }

    fn all<T: Copy>(&self, from: &HashMap<String, T>, names: &[String]) -> Result<Vec<T>, Error> {
        names.iter().map(|name| self.get(from, name)).collect()
    }

    fn vector(&mut self, name: String, x: VectorId) -> Result<(), Error> {
        self.builder.rename(x, &name)?;
        self.vectors.insert(name, x);
        Ok(())
    }

    fn scalar(&mut self, name: String, s: ScalarId) -> Result<(), Error> {
        self.builder.rename_scalar(s, &name)?;
        self.scalars.insert(name, s);
        Ok(())
    }

    fn read(&mut self, statement: Statement) -> Result<(), Error> {
        match statement {
            Statement::Matrix { name, variance, rate } => {
                let id = self.builder.matrix_with(&name, variance, rate)?;
                self.matrices.insert(name, id);
            }
            Statement::Inputs { names, mean, covariance, tangent } => {
                let line = self.line;
                let tangent = tangent.map(|rows| matrix(line, rows)).transpose()?;
                let given: Vec<&str> = names.iter().map(String::as_str).collect();
                let ids = self.builder.inputs(&given, &mean, matrix(line, covariance)?, tangent)?;
                self.vectors.extend(names.into_iter().zip(ids));
            }
            Statement::Dimension { vector, name, ratio } => {
                let x = self.get(&self.vectors, &vector)?;
                self.builder.dimension(x, &name, ratio)?;
            }
            Statement::Matmul { name, matrix, transposed, vector } => {
                let (w, x) = (self.get(&self.matrices, &matrix)?, self.get(&self.vectors, &vector)?);
                let y = self.builder.multiply(w, transposed, x)?;
                self.vector(name, y)?;
            }
            Statement::Combine { name, terms } => {
                let term = |(a, x): (f64, String)| Ok((a, self.get(&self.vectors, &x)?));
                let terms = terms.into_iter().map(term).collect::<Result<Vec<_>, Error>>()?;
                let y = self.builder.combine(&terms)?;
                self.vector(name, y)?;
            }
            Statement::Apply { name, f, vectors, scalars } => {
                let (args, params) = (self.all(&self.vectors, &vectors)?, self.all(&self.scalars, &scalars)?);
                let y = self.builder.apply_with(f, &args, &params)?;
                self.vector(name, y)?;
            }
            Statement::Moment { name, f, vectors, scalars } => {
                let (args, params) = (self.all(&self.vectors, &vectors)?, self.all(&self.scalars, &scalars)?);
                let s = self.builder.moment(f, &args, &params)?;
                self.scalar(name, s)?;
            }
            Statement::Function { name, f, scalars } => {
                let params = self.all(&self.scalars, &scalars)?;
                let s = self.builder.function(f, &params)?;
                self.scalar(name, s)?;
            }
            Statement::Output { name, parts } => {
                let part = |(v, x): (String, String)| {
                    Ok((self.get(&self.vectors, &v)?, self.get(&self.vectors, &x)?))
                };
                let parts = parts.into_iter().map(part).collect::<Result<Vec<_>, Error>>()?;
                self.builder.output_of(&name, &parts)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn example() -> Program {
        let mut p = Builder::new();
        let gram = array![[1.0, 0.4], [0.4, 0.8]];
        let x = p.inputs(&["x0", "x1"], &[0.0; 2], gram.clone(), Some(gram)).unwrap();
        let w = p.matrix_with("W", 1.5, 1.0).unwrap();
        let v = p.input("v", 0.0, 1.0).unwrap();
        p.dimension(v, "m", 0.5).unwrap();
        let mean = p.moment(Expr::arg(0).power(2.0), &[x[0]], &[]).unwrap();
        let scale = p.function((Expr::param(0) + 0.1).power(-0.5), &[mean]).unwrap();
        let y = p.apply_with(Expr::arg(0).tanh() * Expr::param(0), &[x[0]], &[scale]).unwrap();
        let z = p.combine(&[(1.0, y), (-0.5, x[1])]).unwrap();
        let g = p.matmul(w, z).unwrap();
        p.output("f", v, g).unwrap();
        p.finish()
    }

    #[test]
    fn programs_survive_a_file() {
        let program = example();
        let again = Program::from_json(&program.to_json()).unwrap();
        assert_eq!(again, program);
        assert_eq!(again.to_string(), program.to_string());
    }

    #[test]
    fn wrong_documents_are_refused_with_their_line() {
        let message = |text: &str| Program::from_json(text).unwrap_err().to_string();
        assert_eq!(message(r#"{"version": 2, "program": []}"#), "not a program: version 2 is not 1");
        assert!(message("{").starts_with("not a program: "));
        let before = r#"{"version":1,"program":[{"matrix":{"name":"W","variance":1,"rate":1}},
            {"matmul":{"name":"g","matrix":"W","vector":"x"}}]}"#;
        assert_eq!(message(before), "line 2: x is used before it is defined");
        let deep = format!(
            r#"{{"version":1,"program":[{{"function":{{"name":"s","f":{}{}"#,
            r#"{"sum":["#.repeat(300),
            "]}".repeat(300)
        );
        assert!(message(&deep).contains("recursion limit"), "{}", message(&deep));
        let text = example().to_json().replace("0.4,\n", "7.0,\n");
        assert!(message(&text).starts_with("line 1: the covariance"), "{}", message(&text));
    }
}
