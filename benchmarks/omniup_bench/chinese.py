"""Translate the tables of a report to Chinese: every number stays, and the words come from one list.

A page and its twin agree by construction, as the twin's tables are these words put for those of the page.
"""

from __future__ import annotations

import re

_TEXTS = {
    # headings and titles of plots
    "Ranking": "排名",
    "{channels} channels, {device}": "{channels} 通道，{device}",
    "{task}: {summary}": "{task}：{summary}",
    "Quality against time": "质量与用时",
    "Quality against memory": "质量与内存",
    "Quality against the upsampling factor": "质量与上采样倍率",
    "{task}: quality against the distance from boundaries": "{task}：质量与到边界的距离",
    "Growth with the image's size, {channels} channels, {device}": "随图像尺寸的增长，{channels} 通道，{device}",
    # what tasks measure
    "class probabilities of a street-scene network (CamVid)": "街景网络的类别概率（CamVid）",
    "depth maps, area-averaged (Middlebury 2005)": "深度图，面积平均（Middlebury 2005）",
    "human segmentations, area-averaged (BSDS500)": "人工分割，面积平均（BSDS500）",
    "heights of vegetation, area-averaged (Sentinel-2 and lidar)": "植被高度，面积平均（Sentinel-2 与激光雷达）",
    "a photograph from its colours at low resolution (BSDS500)": "由低分辨率的颜色还原照片（BSDS500）",
    "cell means, mirroring, noise and JPEG: {summary}": "单元均值、镜像、噪声与 JPEG：{summary}",
    "{quantity} by a linear probe fitted to the upsampled features of {network} ({images})": (
        "线性探针读出的{quantity}，探针拟合到{network}上采样后的特征（{images}）"
    ),
    "{quantity} by a linear probe fitted to the low-resolution features of {network} ({images})": (
        "线性探针读出的{quantity}，探针拟合到{network}的低分辨率特征（{images}）"
    ),
    "features of {network} (CamVid), against its own, {n} times finer, of {image}": (
        "{network}的特征（CamVid），与它自己对{image}给出的、细 {n} 倍的特征相比"
    ),
    "a street-scene network": "街景网络",
    "timm:{name}": " timm:{name} ",
    "the image shifted by parts of a cell": "平移几分之一个单元的图像",
    "the image enlarged": "放大的图像",
    "labels": "类别",
    "two pairs of Middlebury 2005, one for the other": "Middlebury 2005 的两对图像，互为拟合与评测",
    "CamVid, results {ratio} times the image's size": "CamVid，结果为图像尺寸的 {ratio} 倍",
    "depth": "深度",
    "normals": "法线",
    # how it was measured
    "{count} images of {folders}. {machine}.": "{folders} 的 {count} 张图像。{machine}。",
    "{count} images of {folders}. In brackets {confidence} % intervals, of {resamples} resamples of the images. "
    "{machine}.": (
        "{folders} 的 {count} 张图像。括号中为 {confidence} % 区间，由对图像的 {resamples} 次重抽样得到。{machine}。"
    ),
    "{low} to {high}": "{low} 至 {high}",
    "{processor}, {threads} threads": "{processor}，{threads} 个线程",
    "{machine}; in the same runs it copied {copied} GB/s (read and written) and multiplied matrices at {rate} GFLOP/s. "
    "Medians; in brackets the range of the runs.": (
        "{machine}；在同样的运行中，它每秒复制 {copied} GB（读与写），矩阵乘法为 {rate} GFLOP/s。"
        "数值为中位数；括号中为各次运行的范围。"
    ),
    # columns
    "task": "任务",
    "score": "分数",
    "first": "第一",
    "next": "第二",
    "difference": "差",
    "{score} against {baseline}": "{score}，与 {baseline} 之差",
    "{score}, {factor}×": "{score}，{factor}×",
    "time": "用时",
    "memory": "内存",
    "whole": "全部",
    "prepare": "准备",
    "render": "渲染",
    "times a copy of the result": "复制结果用时的倍数",
    "peak memory": "峰值内存",
    "of it the result": "其中结果",
    "whole, in brackets per pixel": "全部，括号中为每像素",
    # cells
    "{method}, measurement": "{method}，测量",
    "{method} (measurement)": "{method}（测量）",
    "{method} (probabilities)": "{method}（概率）",
    "{value} ({low} to {high})": "{value}（{low} 至 {high}）",
    "{seconds} s ({low} to {high})": "{seconds} s（{low} 至 {high}）",
    "{seconds} s ({each} ns)": "{seconds} s（{each} ns）",
    "out of memory": "内存不足",
}
"""Chinese by English; what a gap takes is translated likewise, where it is listed."""

_WORDS = {"task", "method", "score", "baseline", "quantity", "value", "low", "high"}
"""Gaps that take one word."""

_GAP, _WORD, _ANYTHING = r"\{\w+\}", r"\S+?", ".+?"


def _pattern(english: str) -> re.Pattern[str]:
    """Compile a text with gaps to a pattern with a group for each."""
    literal, gaps = re.split(_GAP, english), [gap[1:-1] for gap in re.findall(_GAP, english)]
    groups = (f"(?P<{gap}>{_WORD if gap in _WORDS else _ANYTHING})" for gap in gaps)
    return re.compile("".join(re.escape(text) + group for text, group in zip(literal, (*groups, ""), strict=True)))


_PATTERNS = [
    (_pattern(english), _TEXTS[english])
    for english in sorted(_TEXTS, key=lambda text: len(re.sub(_GAP, "", text)), reverse=True)
]
"""Those with most words first, since one of few words and a gap also matches what another one says at length."""


def chinese(markdown: str) -> str:
    """Translate what a report puts between the marks of a page.

    Args:
        markdown: headings, paragraphs of one line, tables and pictures.
    """
    return "\n".join(_line(line) for line in markdown.split("\n"))


def _line(line: str) -> str:
    if line.startswith("| "):
        return f"| {' | '.join(_phrase(cell).strip() for cell in line[2:-2].split(' | '))} |"
    if heading := re.fullmatch(r"(#+ )(.*)", line):
        return heading[1] + _phrase(heading[2])
    if picture := re.fullmatch(r"!\[(.*)\](\(.*\))", line):
        return f"![{_phrase(picture[1])}]{picture[2]}"
    return _phrase(line)


def _phrase(text: str) -> str:
    """Translate a text that is listed; names and numbers are not."""
    for pattern, translation in _PATTERNS:
        if found := pattern.fullmatch(text):
            gaps = {name: value if name == "task" else _phrase(value) for name, value in found.groupdict().items()}
            return translation.format(**gaps)
    return text
