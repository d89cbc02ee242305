"""A day as a line of a word's height: an image, so that a page of fifty costs no chart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
from dash import html

from serving.dashboard import theme, wording

if TYPE_CHECKING:
    from numpy.typing import NDArray

WIDTH, HEIGHT, MARGIN = 120, 28, 3


def sparkline(mean: NDArray[np.float64], odd: NDArray[np.bool_]) -> html.Img:
    """Draw hourly means (n,) kW, broken where they are NaN, with a diamond on the hours (n,) that were anomalous."""
    return html.Img(
        src="data:image/svg+xml," + quote(_svg(mean, odd)),
        alt=_told(mean, odd),
        width=WIDTH,
        height=HEIGHT,
        className="sparkline",
    )


def _svg(mean: NDArray[np.float64], odd: NDArray[np.bool_]) -> str:
    known = mean[~np.isnan(mean)]
    low, high = (min(float(known.min()), 0.0), max(float(known.max()), 0.0)) if len(known) else (0.0, 0.0)
    x = np.linspace(MARGIN, WIDTH - MARGIN, len(mean))
    y = HEIGHT - MARGIN - (np.nan_to_num(mean) - low) / ((high - low) or 1.0) * (HEIGHT - 2 * MARGIN)
    places = [f"{left:.1f},{top:.1f}" for left, top in zip(x, y, strict=True)]
    path, drawing = [], False
    for place, value in zip(places, mean, strict=True):
        if np.isnan(value):
            drawing = False
            continue
        path.append(f"{'L' if drawing else f'M{place}L'}{place}")  # a lone hour is a dot
        drawing = True
    marks = "".join(
        f'<path d="M{left:.1f} {top - 3.5:.1f}l3.5 3.5-3.5 3.5-3.5-3.5z" fill="{theme.ANOMALOUS}"/>'
        for left, top, value in zip(x[odd], y[odd], mean[odd], strict=True)
        if not np.isnan(value)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">'
        f'<path d="{"".join(path)}" fill="none" stroke="{theme.NORMAL}" stroke-width="1.5" '
        f'stroke-linejoin="round" stroke-linecap="round"/>{marks}</svg>'
    )


def _told(mean: NDArray[np.float64], odd: NDArray[Any]) -> str:
    known = mean[~np.isnan(mean)]
    if not len(known):
        return "No reading in the last 24 hours"
    hours = int(np.count_nonzero(odd))
    anomalous = f", {hours} anomalous hour{'' if hours == 1 else 's'}" if hours else ""
    return f"{wording.number(known.min(), 2)} to {wording.number(known.max(), 2, 'kW')} by the hour{anomalous}"
