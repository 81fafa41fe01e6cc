"""Names and folders of the ament resource index (design: ament/ament_cmake, resource_index.md)."""

AMENT_PREFIX_PATH_ENV_VAR = "AMENT_PREFIX_PATH"
RESOURCE_INDEX_SUBFOLDER = "share/ament_index/resource_index"
