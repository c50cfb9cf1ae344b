"""Pictures with boxes: COCO JSON, VOC XML, YOLO text and Parquet; their splits, and the doctor that looks at them."""

from __future__ import annotations

from dougong.data.boxes.opening import format_of, read_boxes
from dougong.data.boxes.rows import DetectionData, DetectionSplit

__all__ = ["DetectionData", "DetectionSplit", "format_of", "read_boxes"]
