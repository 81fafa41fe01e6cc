"""The episodes of SimplerEnv's evaluation scripts, as data.

Names, places and counts are facts of github.com/simpler-env/SimplerEnv (commit 4ab7178), folder `scripts`:
`rt1_*_visual_matching.sh`, `rt1_*_variant_agg.sh` and `rt1x_bridge.sh`. Visual matching lays a real photograph under
the robot and varies the robot's colour; variant aggregation renders everything and varies the scene.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from magma_eval.episodes import Episode, Suite
from magma_sim.backends.simpler_original.options import WIDOWX, WIDOWX_SINK, SimplerOptions

VISUAL_MATCHING = "simpler-google-vm"
VARIANT_AGGREGATION = "simpler-google-va"
ORIGINAL_BRIDGE = "simpler-widowx"
PUBLISHED = Path(__file__).with_name("published.json")
"""what others have published for these suites; "simpler-google" there is the mean over both Google protocols"""

COKE_CAN, MOVE_NEAR = "google_robot_pick_coke_can", "google_robot_move_near"
DRAWER, PUT_IN_DRAWER = "google_robot_drawer", "google_robot_place_apple_in_closed_top_drawer"

ROBOT_COLOURS = (
    None,
    "recolor_tabletop_visual_matching_1",
    "recolor_tabletop_visual_matching_2",
    "recolor_cabinet_visual_matching_1",
)
ORIENTATIONS = {"horizontal": "lr_switch", "vertical": "laid_vertically", "standing": "upright"}
DRAWERS = tuple(f"{action}_{place}" for action in ("open", "close") for place in ("top", "middle", "bottom"))

_COKE_SCENE = "google_pick_coke_can_1_v4"
_COKE_ENV = "GraspSingleOpenedCokeCan{}InScene-v0"
_COKE_GRID: dict[str, Any] = {"object_init_x": (-0.35, -0.12, 5), "object_init_y": (-0.02, 0.42, 5)}
_NEAR: dict[str, Any] = {"object_episodes": 60, "robot_init_y": (0.21, 0.21, 1), "robot_init_yaw": -0.09}
_ONE_OBJECT_PLACE: dict[str, Any] = {"object_init_x": (0.0, 0.0, 1), "object_init_y": (0.0, 0.0, 1)}
_APPLE_GRID: dict[str, Any] = {"object_init_x": (-0.08, -0.02, 3), "object_init_y": (-0.02, 0.08, 3)}
_DRAWER_MATCHING: dict[str, Any] = {
    "station_name": "mk_station_recolor",
    "light_mode": "simple",
    "disable_bad_material": True,
}
_DRAWER_PLACES = {
    # place: robot x, robot y (m), robot yaw (rad); each has a photograph of its own
    "a0": (0.644, -0.179, -0.03),
    "a1": (0.765, -0.182, -0.02),
    "a2": (0.889, -0.203, -0.06),
    "b0": (0.652, 0.009, 0.0),
    "b1": (0.752, 0.009, 0.0),
    "b2": (0.851, 0.035, 0.0),
    "c0": (0.665, 0.224, 0.0),
    "c1": (0.765, 0.222, -0.025),
    "c2": (0.865, 0.222, -0.025),
}
# variant: (factor, scene, part of the environment's name, further arguments)
_Table = dict[str, tuple[str, str, str, dict[str, Any]]]
_TABLETOP_VARIANTS: _Table = {
    "base": ("base", _COKE_SCENE, "", {}),
    "table=cabinet1": ("table", "Baked_sc1_staging_objaverse_cabinet1_h870", "", {}),
    "table=cabinet2": ("table", "Baked_sc1_staging_objaverse_cabinet2_h870", "", {}),
    "background=1": ("background", f"{_COKE_SCENE}_alt_background", "", {}),
    "background=2": ("background", f"{_COKE_SCENE}_alt_background_2", "", {}),
    "lighting=darker": ("lighting", _COKE_SCENE, "", {"slightly_darker_lighting": True}),
    "lighting=brighter": ("lighting", _COKE_SCENE, "", {"slightly_brighter_lighting": True}),
    "camera=1": ("camera", _COKE_SCENE, "AltGoogleCamera", {}),
    "camera=2": ("camera", _COKE_SCENE, "AltGoogleCamera2", {}),
}
_COKE_VARIANTS: _Table = _TABLETOP_VARIANTS | {
    "distractors=less": ("distractors", _COKE_SCENE, "Distractor", {}),
    "distractors=more": ("distractors", _COKE_SCENE, "Distractor", {"distractor_config": "more"}),
}
_NEAR_VARIANTS: _Table = _TABLETOP_VARIANTS | {
    "distractors=none": ("distractors", _COKE_SCENE, "", {"no_distractor": True}),
}
_STATION_SCENE = "frl_apartment_stage_simple"
_STATION_VARIANTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "base": ("base", _STATION_SCENE, {}),
    "background=bedroom": ("background", "modern_bedroom_no_roof", {}),
    "background=office": ("background", "modern_office_no_roof", {}),
    "lighting=brighter": ("lighting", _STATION_SCENE, {"light_mode": "brighter"}),
    "lighting=darker": ("lighting", _STATION_SCENE, {"light_mode": "darker"}),
    "cabinet=2": ("cabinet", _STATION_SCENE, {"station_name": "mk_station2"}),
    "cabinet=3": ("cabinet", _STATION_SCENE, {"station_name": "mk_station3"}),
}


def visual_matching() -> list[Episode]:
    """The 864 visual matching episodes of the Google robot: coke can 300, move near 240, drawer 216, put in 108."""
    episodes: list[Episode] = []
    for colour in ROBOT_COLOURS:
        suite, factor = VISUAL_MATCHING, "base" if colour is None else "robot colour"
        robot, urdf = f"urdf={colour or 'plain'}", {"urdf_version": colour}
        for orientation, flag in ORIENTATIONS.items():
            options = SimplerOptions(
                env_id=_COKE_ENV.format(""),
                scene_name=_COKE_SCENE,
                rgb_overlay="google_coke_can_real_eval_1.png",
                env_kwargs={flag: True, **urdf},
                **_COKE_GRID,
            )
            make = f"google_robot_pick_{orientation}_coke_can"
            episodes += _episodes(suite, COKE_CAN, f"{orientation},{robot}", make, [options], factor)
        options = SimplerOptions(
            env_id="MoveNearGoogleBakedTexInScene-v0",
            scene_name=_COKE_SCENE,
            rgb_overlay="google_move_near_real_eval_1.png",
            env_kwargs=urdf,
            **_NEAR,
        )
        episodes += _episodes(suite, MOVE_NEAR, robot, "google_robot_move_near_v0", [options], factor)
        for drawer in DRAWERS:
            places = [_matched_place(drawer, place, urdf) for place in _DRAWER_PLACES]
            make = f"google_robot_{drawer}_drawer"
            episodes += _episodes(suite, DRAWER, f"{drawer},{robot}", make, places, factor)
        places = [_matched_place("put_in", place, urdf) for place in ("a0", "b0", "c0")]
        episodes += _episodes(suite, PUT_IN_DRAWER, robot, PUT_IN_DRAWER, places, factor)
    return episodes


def variant_aggregation() -> list[Episode]:
    """The 1992 variant aggregation episodes: coke can 825, move near 600, drawer 378, put in 189.

    The camera variants are among them; their factor is "camera". SimplerEnv's own metric leaves them out (675 and 480).
    """
    suite = VARIANT_AGGREGATION
    episodes: list[Episode] = []
    for variant, (factor, scene, part, arguments) in _COKE_VARIANTS.items():
        for orientation, flag in ORIENTATIONS.items():
            options = SimplerOptions(
                env_id=_COKE_ENV.format(part), scene_name=scene, env_kwargs={flag: True, **arguments}, **_COKE_GRID
            )
            make = f"google_robot_pick_{orientation}_coke_can"
            episodes += _episodes(suite, COKE_CAN, f"{orientation},{variant}", make, [options], factor)
    for variant, (factor, scene, part, arguments) in _NEAR_VARIANTS.items():
        env_id = f"MoveNear{part or 'Google'}InScene-v0"
        options = SimplerOptions(env_id=env_id, scene_name=scene, env_kwargs=arguments, **_NEAR)
        episodes += _episodes(suite, MOVE_NEAR, variant, "google_robot_move_near_v0", [options], factor)
    for variant, (factor, scene, arguments) in _STATION_VARIANTS.items():
        for drawer in DRAWERS:
            options = SimplerOptions(
                env_id=_drawer_env(drawer),
                scene_name=scene,
                max_episode_steps=113,
                ray_tracing=True,
                env_kwargs=arguments,
                robot_init_x=(0.65, 0.85, 3),
                robot_init_y=(-0.2, 0.2, 3),
                **_ONE_OBJECT_PLACE,
            )
            make = f"google_robot_{drawer}_drawer"
            episodes += _episodes(suite, DRAWER, f"{drawer},{variant}", make, [options], factor)
        options = SimplerOptions(
            env_id="PlaceIntoClosedTopDrawerCustomInScene-v0",
            scene_name=scene,
            max_episode_steps=200,
            ray_tracing=True,
            env_kwargs={"model_ids": "apple", **arguments},
            robot_init_x=(0.65, 0.65, 1),
            robot_init_y=(-0.2, 0.2, 3),
            **_APPLE_GRID,
        )
        episodes += _episodes(suite, PUT_IN_DRAWER, variant, PUT_IN_DRAWER, [options], factor)
    return episodes


def original_bridge() -> list[Episode]:
    """The four Bridge tasks on the original SimplerEnv, 24 episodes each."""
    table: dict[str, Any] = {
        "scene_name": "bridge_table_1_v1",
        "robot": WIDOWX,
        "rgb_overlay": "bridge_real_eval_1.png",
        "robot_init_x": (0.147, 0.147, 1),
        "robot_init_y": (0.028, 0.028, 1),
        "max_episode_steps": 60,
    }
    sink: dict[str, Any] = {
        "scene_name": "bridge_table_1_v2",
        "robot": WIDOWX_SINK,
        "rgb_overlay": "bridge_sink.png",
        "robot_init_x": (0.127, 0.127, 1),
        "robot_init_y": (0.06, 0.06, 1),
        "max_episode_steps": 120,
    }
    tasks = {
        "widowx_spoon_on_towel": ("PutSpoonOnTableClothInScene-v0", table),
        "widowx_carrot_on_plate": ("PutCarrotOnPlateInScene-v0", table),
        "widowx_stack_cube": ("StackGreenCubeOnYellowCubeBakedTexInScene-v0", table),
        "widowx_put_eggplant_in_basket": ("PutEggplantInBasketScene-v0", sink),
    }
    episodes: list[Episode] = []
    for task, (env_id, place) in tasks.items():
        options = SimplerOptions(env_id=env_id, control_freq=5, sim_freq=500, object_episodes=24, **place)
        episodes += _episodes(ORIGINAL_BRIDGE, task, "eval", task, [options], "base")
    return episodes


def _episodes(
    suite: str, task: str, variant: str, make: str, places: list[SimplerOptions], factor: str
) -> Iterator[Episode]:
    number = 0
    for options in places:
        for layout in range(options.layouts):
            yield Episode(
                suite=suite,
                task=task,
                variant=variant,
                episode_id=number,
                make=f"simpler/{make}",
                layout=layout,
                options=options.as_mapping(),
                factor=factor,
            )
            number += 1


def _drawer_env(drawer: str) -> str:
    action, place = drawer.split("_")
    return f"{action.capitalize()}{place.capitalize()}DrawerCustomInScene-v0"


def _matched_place(drawer: str, place: str, urdf: dict[str, Any]) -> SimplerOptions:
    """A drawer environment in front of the photograph taken from `place`."""
    x, y, yaw = _DRAWER_PLACES[place]
    common: dict[str, Any] = {
        "scene_name": "dummy_drawer",
        "rgb_overlay": f"open_drawer_{place}.png",
        "ray_tracing": True,
        "robot_init_x": (x, x, 1),
        "robot_init_y": (y, y, 1),
        "robot_init_yaw": yaw,
    }
    if drawer == "put_in":
        return SimplerOptions(
            env_id="PlaceIntoClosedTopDrawerCustomInScene-v0",
            max_episode_steps=200,
            env_kwargs={**_DRAWER_MATCHING, **urdf, "model_ids": "baked_apple_v2"},
            **common,
            **_APPLE_GRID,
        )
    return SimplerOptions(
        env_id=_drawer_env(drawer),
        max_episode_steps=113,
        env_kwargs={**_DRAWER_MATCHING, **urdf},
        **common,
        **_ONE_OBJECT_PLACE,
    )


SUITES = (
    Suite(VISUAL_MATCHING, "original SimplerEnv, Google robot, visual matching: 864 episodes", visual_matching),
    Suite(
        VARIANT_AGGREGATION,
        "original SimplerEnv, Google robot, variant aggregation: 1992 episodes, cameras included",
        variant_aggregation,
    ),
    Suite(ORIGINAL_BRIDGE, "original SimplerEnv, WidowX: 4 Bridge tasks, 24 episodes each", original_bridge),
)
