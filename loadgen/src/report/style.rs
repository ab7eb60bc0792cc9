//! How pages look: one style, inside the page. Colours after Okabe and Ito, which the colour-blind can tell apart; and
//! every line has its own dashes, so that colour is never the only difference.

use super::svg::escape;
use super::verdict::Tone;

const STYLE: &str = "
:root{color-scheme:light dark;--paper:#fff;--ink:#1b1f24;--soft:#57606a;--rule:#d8dee4;--card:#f6f8fa;
--c0:#0072b2;--c1:#d55e00;--c2:#00805e;--c3:#a8467c;--c4:#a06d00;--c5:#6e7781;--good:#00704f;--doubt:#8a5a00;--bad:#b3261e}
@media (prefers-color-scheme:dark){:root{--paper:#0f1318;--ink:#e6edf3;--soft:#9aa7b4;--rule:#2d343c;--card:#171d24;
--c0:#56b4e9;--c1:#ff9248;--c2:#2cc99a;--c3:#e59ac4;--c4:#e6b422;--c5:#8b949e;--good:#3fd0a0;--doubt:#e6b422;--bad:#ff8a80}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}
main{max-width:1180px;margin:0 auto;padding:20px 16px 60px}
h1{font-size:1rem;font-weight:600;color:var(--soft);margin:0}
h2{font-size:1.15rem;margin:36px 0 10px}
h3{font-size:1rem;margin:0 0 6px}
.lead{font-size:1.05rem;margin:6px 0}
.verdict{font-size:clamp(1.2rem,2.6vw,1.75rem);line-height:1.3;font-weight:650;margin:8px 0 14px;padding-left:14px;border-left:6px solid}
.verdict b{display:block;font-size:.8rem;letter-spacing:.08em}
.verdict.good{border-color:var(--good)}.verdict.doubtful{border-color:var(--doubt)}.verdict.bad{border-color:var(--bad)}
.good b,td.good{color:var(--good)}.doubtful b,td.doubtful{color:var(--doubt)}.bad b,td.bad{color:var(--bad);font-weight:700}
.doubt{margin:6px 0;padding:8px 12px;background:var(--card);border-left:4px solid var(--doubt)}
.wrong{margin:6px 0;padding:8px 12px;background:var(--card);border-left:4px solid var(--bad);overflow-wrap:anywhere}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(45%,230px),1fr));gap:10px;margin:14px 0}
.tile{background:var(--card);border-radius:8px;padding:10px 12px}
.tile span{display:block;color:var(--soft);font-size:.85rem}
.tile strong{font-size:1.25rem;font-variant-numeric:tabular-nums}
.answer{background:var(--card);border-radius:8px;padding:12px 16px;margin:10px 0}
.answer.open{border-left:4px solid var(--doubt)}
.answer p{margin:0 0 6px;font-weight:600}
.answer ul{margin:4px 0;padding-left:20px;color:var(--soft);font-size:.92rem}
.answer li.care{color:var(--doubt)}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:22px}
figure{margin:0;min-width:0;break-inside:avoid}
figcaption{color:var(--soft);font-size:.88rem;margin-top:4px}
.wide{overflow-x:auto}
figure svg[role=img]{width:100%;min-width:460px;height:auto;display:block}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.92rem;min-width:min(100%,420px)}
th,td{text-align:left;padding:5px 12px 5px 0;border-bottom:1px solid var(--rule);white-space:nowrap}
td.words{white-space:normal;min-width:220px}
th{color:var(--soft);font-weight:600}
.n{text-align:right}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 16px;margin:0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
pre{background:var(--card);padding:12px;overflow-x:auto;border-radius:8px;font-size:.85rem}
code{overflow-wrap:anywhere}
a{color:var(--c0)}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:2px 16px;margin:0 0 4px;padding:0;font-size:.85rem;color:var(--soft)}
.legend li{display:flex;align-items:center;gap:6px}
.key{width:30px;height:12px}
.spark{width:160px;height:32px;display:block}
svg text{fill:var(--soft);font-size:12px}
svg .label{fill:var(--ink);font-size:12.5px}
.mid{text-anchor:middle}.end{text-anchor:end}
.grid{stroke:var(--rule);stroke-width:1;fill:none}
.line{fill:none;stroke-width:2;stroke-linejoin:round}
.mark{fill:none;stroke-width:2}
.s0{stroke:var(--c0)}.s1{stroke:var(--c1);stroke-dasharray:7 4}.s2{stroke:var(--c2);stroke-dasharray:11 3 2 3}.s3{stroke:var(--c3);stroke-dasharray:2 3}.s4{stroke:var(--c4);stroke-dasharray:14 4}.s5{stroke:var(--c5);stroke-dasharray:4 6}
.mark{stroke-dasharray:none}
.cell{fill:var(--c0)}.cell.hot{fill:var(--c1);stroke:var(--ink);stroke-width:.7}
footer{margin-top:40px;color:var(--soft);font-size:.85rem}
@media print{:root{--paper:#fff;--ink:#000;--soft:#444;--card:#fff;--rule:#bbb;--c0:#0072b2;--c1:#d55e00;--c2:#00805e;--c3:#a8467c;--c4:#a06d00;--c5:#6e7781;--good:#00704f;--doubt:#8a5a00;--bad:#b3261e}
main{max-width:none;padding:0}h2{break-after:avoid}details>*{display:block}.wide{overflow:visible}.cell,.key{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
";

impl Tone {
    /// The class that colours it.
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Doubtful => "doubtful",
            Self::CutShort | Self::Bad => "bad",
        }
    }
}

/// A whole page around `body`. It is XML as well as HTML, and loads nothing.
pub(crate) fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escape(title)
    )
}
