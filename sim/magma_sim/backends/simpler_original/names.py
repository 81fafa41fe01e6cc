"""SimplerEnv's 25 named tasks, as `make_task` knows them."""

from __future__ import annotations

SUITE = "simpler"
PREFIX = "simpler/"
"""before SimplerEnv's own name: simpler/widowx_carrot_on_plate"""

EPISODES = {
    "widowx_spoon_on_towel": (24, 60),
    "widowx_carrot_on_plate": (24, 60),
    "widowx_stack_cube": (24, 60),
    "widowx_put_eggplant_in_basket": (24, 120),
    "google_robot_move_near": (60, 80),
    "google_robot_move_near_v0": (60, 80),
    "google_robot_move_near_v1": (60, 80),
}
"""tasks whose environment numbers its episodes: (episodes, step cap), as SimplerEnv's scripts play them"""

SEEDED_STEPS = {
    "google_robot_pick_coke_can": 80,
    "google_robot_pick_horizontal_coke_can": 80,
    "google_robot_pick_vertical_coke_can": 80,
    "google_robot_pick_standing_coke_can": 80,
    "google_robot_pick_object": 80,
    "google_robot_open_drawer": 113,
    "google_robot_open_top_drawer": 113,
    "google_robot_open_middle_drawer": 113,
    "google_robot_open_bottom_drawer": 113,
    "google_robot_close_drawer": 113,
    "google_robot_close_top_drawer": 113,
    "google_robot_close_middle_drawer": 113,
    "google_robot_close_bottom_drawer": 113,
    "google_robot_place_in_closed_drawer": 200,
    "google_robot_place_in_closed_top_drawer": 200,
    "google_robot_place_in_closed_middle_drawer": 200,
    "google_robot_place_in_closed_bottom_drawer": 200,
    "google_robot_place_apple_in_closed_top_drawer": 200,
}
"""tasks that draw their start from a seed unless the options give a grid: step cap"""

TASKS = (*EPISODES, *SEEDED_STEPS)
"""SimplerEnv's 25 named tasks"""
