/* Does with Vulkan what SAPIEN 2.2.2 does with VK_KHR_external_semaphore_fd, and prints what came of it, a word a line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vulkan/vulkan.h>

#define NAME VK_KHR_EXTERNAL_SEMAPHORE_FD_EXTENSION_NAME

static int fail(const char *what, VkResult result) {
    printf("%s=%d\n", what, result);
    return 1;
}

int main(void) {
    VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, .apiVersion = VK_API_VERSION_1_2};
    VkInstanceCreateInfo instance_info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pApplicationInfo = &application};
    VkInstance instance;
    VkResult result = vkCreateInstance(&instance_info, NULL, &instance);
    if (result) return fail("instance", result);
    uint32_t count = 1;
    VkPhysicalDevice physical;
    result = vkEnumeratePhysicalDevices(instance, &count, &physical);
    if ((result && result != VK_INCOMPLETE) || !count) return fail("physical", result);
    VkPhysicalDeviceProperties properties;
    vkGetPhysicalDeviceProperties(physical, &properties);
    printf("device=%s\n", properties.deviceName);

    uint32_t extensions = 0;
    result = vkEnumerateDeviceExtensionProperties(physical, NULL, &extensions, NULL);
    if (result) return fail("count", result);
    VkExtensionProperties *list = calloc(extensions, sizeof *list);
    uint32_t short_count = extensions - 1;
    result = vkEnumerateDeviceExtensionProperties(physical, NULL, &short_count, list);
    printf("too_short=%s\n", result == VK_INCOMPLETE && short_count == extensions - 1 ? "incomplete" : "wrong");
    result = vkEnumerateDeviceExtensionProperties(physical, NULL, &extensions, list);
    if (result) return fail("list", result);
    int listed = 0;
    for (uint32_t i = 0; i < extensions; i++) listed += !strcmp(list[i].extensionName, NAME);
    printf("listed=%d\n", listed);

    float priority = 1;
    VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO, .queueCount = 1, .pQueuePriorities = &priority};
    const char *enabled[] = {VK_KHR_EXTERNAL_SEMAPHORE_EXTENSION_NAME, NAME};
    VkPhysicalDeviceTimelineSemaphoreFeatures timeline = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES, .timelineSemaphore = VK_TRUE};
    VkDeviceCreateInfo device_info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO, .pNext = &timeline, .queueCreateInfoCount = 1,
        .pQueueCreateInfos = &queue, .enabledExtensionCount = 2, .ppEnabledExtensionNames = enabled};
    VkDevice device;
    result = vkCreateDevice(physical, &device_info, NULL, &device);
    printf("create_device=%d\n", result);
    if (result) return 0;

    VkSemaphoreTypeCreateInfo type = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO, .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE, .initialValue = 7};
    VkExportSemaphoreCreateInfo export = {
        .sType = VK_STRUCTURE_TYPE_EXPORT_SEMAPHORE_CREATE_INFO, .pNext = &type,
        .handleTypes = VK_EXTERNAL_SEMAPHORE_HANDLE_TYPE_OPAQUE_FD_BIT};
    VkSemaphoreCreateInfo semaphore_info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &export};
    VkSemaphore semaphore;
    result = vkCreateSemaphore(device, &semaphore_info, NULL, &semaphore);
    printf("create_semaphore=%d\n", result);
    uint64_t value = 0;
    if (!result && !vkGetSemaphoreCounterValue(device, semaphore, &value)) printf("timeline=%d\n", (int)value);

    PFN_vkGetSemaphoreFdKHR get_fd = (PFN_vkGetSemaphoreFdKHR)vkGetDeviceProcAddr(device, "vkGetSemaphoreFdKHR");
    VkSemaphoreGetFdInfoKHR fd_info = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_GET_FD_INFO_KHR, .semaphore = semaphore,
        .handleType = VK_EXTERNAL_SEMAPHORE_HANDLE_TYPE_OPAQUE_FD_BIT};
    int fd = -1;
    printf("get_fd=%s\n", get_fd ? get_fd(device, &fd_info, &fd) == VK_ERROR_FEATURE_NOT_PRESENT ? "refused" : "given" : "absent");
    vkDestroySemaphore(device, semaphore, NULL);
    vkDestroyDevice(device, NULL);
    vkDestroyInstance(instance, NULL);
    printf("end=0\n");
    free(list);
    return 0;
}
