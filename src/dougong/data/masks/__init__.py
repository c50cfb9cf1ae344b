"""Pictures with masks: folders and Parquet files of both, the classes of the pixels, and what is wrong with them."""

from dougong.data.masks.rows import VOID, MaskData, MaskSplit

__all__ = ["VOID", "MaskData", "MaskSplit"]
