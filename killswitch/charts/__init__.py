"""Charts of numbers over time, drawn as SVG for pages and as PNG for chat, from one geometry. Pure; no clock."""
