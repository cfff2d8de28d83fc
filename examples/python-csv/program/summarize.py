"""Reads a CSV of date,station,celsius; writes summary.csv (each station's mean, least and most) and plot.svg."""
import csv
import pathlib
import statistics
import sys

WIDTH, HEIGHT, MARGIN = 640, 320, 40
COLOURS = ["#1f6feb", "#d1571f", "#2e8b57", "#8b4fc8"]


def read(path):
    stations = {}
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            stations.setdefault(row["station"], []).append(float(row["celsius"]))
    return stations


def write_summary(stations, path):
    with open(path, "w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["station", "days", "mean", "least", "most"])
        for name, values in sorted(stations.items()):
            out.writerow([name, len(values), f"{statistics.mean(values):.2f}", min(values), max(values)])


def write_plot(stations, path):
    every = [value for values in stations.values() for value in values]
    least, span = min(every), max(every) - min(every) or 1
    lines = []
    for index, (name, values) in enumerate(sorted(stations.items())):
        step = (WIDTH - 2 * MARGIN) / max(1, len(values) - 1)
        points = " ".join(f"{MARGIN + day * step:.1f},{HEIGHT - MARGIN - (value - least) / span * (HEIGHT - 2 * MARGIN):.1f}"
                          for day, value in enumerate(values))
        colour = COLOURS[index % len(COLOURS)]
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        lines.append(f'<text x="{MARGIN}" y="{16 + 14 * index}" fill="{colour}" font-size="12">{name}</text>')
    path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">\n'
                    + "\n".join(lines) + "\n</svg>\n", encoding="utf-8")


def main():
    source, target = sys.argv[1], pathlib.Path(sys.argv[2])
    stations = read(source)
    target.mkdir(parents=True, exist_ok=True)
    write_summary(stations, target / "summary.csv")
    write_plot(stations, target / "plot.svg")
    print(f"{len(stations)} stations, {sum(map(len, stations.values()))} days")


main()
