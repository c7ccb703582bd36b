//! A text as a QR code on a terminal.

use qrcode::{Color, EcLevel, QrCode};

/// Light modules around the code. Source: ISO/IEC 18004, 4 modules; 2 are enough for today's readers.
const QUIET: isize = 2;
/// Wider codes do not fit a terminal of 80 columns.
const MAX_WIDTH: usize = 76;

/// The code, two modules a character, one above the other; `None` when the text is too long. It is drawn light
/// on dark, since most terminals are dark, and readers take both.
pub fn half_blocks(text: &str) -> Option<String> {
    let code = QrCode::with_error_correction_level(text.as_bytes(), EcLevel::L).ok()?;
    let width = code.width();
    if width > MAX_WIDTH {
        return None;
    }
    let colors = code.to_colors();
    let side = isize::try_from(width).ok()?;
    let light = |x: isize, y: isize| {
        let inside = (0..side).contains(&x) && (0..side).contains(&y);
        let at = usize::try_from(y * side + x).unwrap_or_default();
        !inside || colors.get(at) == Some(&Color::Light)
    };
    let mut lines = Vec::new();
    let mut y = -QUIET;
    while y < side + QUIET {
        let line: String = (-QUIET..side + QUIET)
            .map(|x| match (light(x, y), light(x, y + 1)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            })
            .collect();
        lines.push(line);
        y += 2;
    }
    Some(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_fits_a_terminal_and_has_its_corners() {
        let code = half_blocks(&format!("pkt{}", "0a1b2c3d".repeat(40))).expect("fits");
        let lines: Vec<&str> = code.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() <= 80));
        // The quiet zone, then the upper edge of the finder pattern in the corner.
        assert!(lines[0].chars().all(|c| c == '█'));
        assert!(lines[1].starts_with("██ ▄▄▄▄▄ "), "{}", lines[1]);
    }

    #[test]
    fn what_is_too_long_gives_none() {
        assert!(half_blocks(&"x".repeat(2000)).is_none());
        assert!(half_blocks(&"x".repeat(10_000)).is_none());
        assert!(half_blocks("").is_some());
    }
}
